// Shows what is in a build cache: records, links, results, layers and totals.
//
//     swift run inspect-cache --from type=local,src=a
//     swift run inspect-cache --from type=local,src=a --mermaid        (or --dot, --json)
//
//     record 0  sha256:26ce6e5398d1  1 inputs  result: layer 2, 3 days ago
//       input 0: record 6
//     …
//     totals: 7 records, 8 links, 5 results, 5 layers, 201.3 KiB in 5 blobs
import ArgumentParser
import BuildCache
import ExampleSupport
import Foundation

@main
struct InspectCache: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect-cache", abstract: "Shows what is in a build cache.")
    @Option(help: "A cache to read, as docker buildx --cache-from takes it.") var from: String
    @Flag(help: "Print JSON.") var json = false
    @Flag(help: "Print a Mermaid flowchart.") var mermaid = false
    @Flag(help: "Print a Graphviz digraph.") var dot = false

    func validate() throws {
        if [json, mermaid, dot].count(where: { $0 }) > 1 {
            throw ValidationError("choose one of --json, --mermaid and --dot")
        }
    }

    func run() async throws {
        try await ScratchStore.withTemporary { scratch in
            let report = try await CacheClient(cacheFrom: [from], scratch: scratch).importCaches()
            for outcome in report.outcomes {
                guard let cache = try outcome.result.get() else {
                    throw CacheError(.notFound, "\(outcome.source) has no cache yet")
                }
                for warning in cache.warnings { FileHandle.standardError.write(Data("warning: \(warning)\n".utf8)) }
            }
            let listing = Listing(report.graph)
            if json {
                print(try listing.json())
            } else if mermaid {
                listing.printMermaid()
            } else if dot {
                listing.printDot()
            } else {
                listing.printText()
            }
        }
    }
}
