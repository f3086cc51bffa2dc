// Says for each step of a build whether a cache has it, and if not, what differs from the nearest step that it has.
//
//     swift run explain-cache --from type=local,src=old --build type=local,src=new          (or --json, --mermaid)
//
//     HIT   sha256:9b0b3f1c8a52
//     MISS  sha256:2f6c1e9d7b40  input 1 missed itself; the nearest was built from sha256:77aa09c3d1e2
//     1 of 2 steps are cached
//
// The build is named by the cache that it wrote: there every step is recorded with its inputs.
import ArgumentParser
import BuildCache
import ExampleSupport

@main
struct ExplainCache: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain-cache", abstract: "Says why steps of a build are not in a cache.")
    @Option(help: "The cache to look in, as docker buildx --cache-from takes it.") var from: [String]
    @Option(help: "The cache that the build wrote.") var build: String
    @Flag(name: .customLong("json"), help: "Print JSON.") var asJSON = false
    @Flag(help: "Print a Mermaid flowchart.") var mermaid = false

    private struct Row: Encodable { var step: String, isCached: Bool, why: String? }

    func run() async throws {
        try await ScratchStore.withTemporary { scratch in
            let lookup = CacheLookup(try await readGraph(from: CacheClient(cacheFrom: from, scratch: scratch)))
            let built = try await readGraph(from: CacheClient(cacheFrom: [build], scratch: scratch))
            // The records that each record of the build is in the cache.
            var known: [RecordID: [RecordID]] = [:]
            var rows: [(id: RecordID, row: Row)] = []
            for id in built.recordIDs {
                let record = try built[id]
                if record.isEphemeral { continue }
                let inputs = record.inputs.map { input in
                    input.flatMap { link in (known[link.record] ?? []).map { Link($0, selector: link.selector) } }
                }
                known[id] = try lookup.matches(record.digest, inputs: inputs)
                // What a build has no result of, as its sources, is cached if it is known.
                let miss =
                    record.results.isEmpty && known[id]?.isEmpty == false
                    ? nil : try lookup.explainMiss(record.digest, inputs: inputs)
                rows.append(
                    (
                        id,
                        Row(
                            step: "\(record.digest)", isCached: miss == nil, why: miss?.text(in: lookup.graph))
                    ))
            }
            print(try asJSON ? json(rows.map(\.row)) : mermaid ? try flowchart(rows, built) : table(rows.map(\.row)))
        }
    }

    private func table(_ rows: [Row]) -> String {
        let lines = rows.map {
            ($0.isCached ? "HIT   " : "MISS  ") + $0.step.prefix(19) + ($0.why.map { "  " + plain($0) } ?? "")
        }
        return (lines + ["\(rows.count { $0.isCached }) of \(rows.count) steps are cached"]).joined(separator: "\n")
    }

    private func flowchart(_ rows: [(id: RecordID, row: Row)], _ graph: LayerGraph) throws -> String {
        let number = Dictionary(uniqueKeysWithValues: rows.enumerated().map { ($1.id, $0) })
        var lines = ["flowchart BT", "  classDef miss fill:#fdd,stroke:#c00"]
        for (index, (id, row)) in rows.enumerated() {
            lines.append("  r\(index)[\"\(row.step.dropFirst(7).prefix(12))\"]\(row.isCached ? "" : ":::miss")")
            for (input, links) in try graph[id].inputs.enumerated() {
                lines += links.compactMap { number[$0.record].map { "  r\(index) -- \(input) --> r\($0)" } }
            }
        }
        return lines.joined(separator: "\n")
    }
}
