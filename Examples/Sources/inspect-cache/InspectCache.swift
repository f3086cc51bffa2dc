// Shows what is in a build cache: records, links, results, layers and totals.
//
//     swift run inspect-cache --from type=local,src=a
//     swift run inspect-cache --from type=local,src=a --mermaid        (or --dot, --json)
//     swift run inspect-cache --from type=local,src=new --diff type=local,src=old          (or with --json)
//     swift run inspect-cache --from type=local,src=a --signatures --verify-key key.pub    (or with --json)
//
//     record 0  sha256:26ce6e5398d1  1 inputs  result: layer 2, 3 days ago
//       input 0: record 6
//     …
//     totals: 7 records, 8 links, 5 results, 5 layers, 201.3 KiB in 5 blobs
import ArgumentParser
import BuildCache
import ExampleSupport

@main
struct InspectCache: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect-cache", abstract: "Shows what is in a build cache.")
    @Option(help: "A cache to read, as docker buildx --cache-from takes it.") var from: String
    @Option(help: "An older cache to compare with.") var diff: String?
    @Flag(name: .customLong("json"), help: "Print JSON.") var asJSON = false
    @Flag(help: "Print a Mermaid flowchart.") var mermaid = false
    @Flag(help: "Print a Graphviz digraph.") var dot = false
    @Flag(help: "Print the signatures, and whether --verify-key accepts them.") var signatures = false
    @OptionGroup var options: SigningOptions

    func validate() throws {
        if [asJSON, mermaid, dot].count(where: { $0 }) > 1 {
            throw ValidationError("choose one of --json, --mermaid and --dot")
        }
        if diff != nil, mermaid || dot { throw ValidationError("a difference is text or --json") }
    }

    func run() async throws {
        try await ScratchStore.withTemporary { scratch in
            if signatures {
                let list = try await SignatureList(of: from, by: options.verification(), scratch: scratch)
                print(try asJSON ? json(list.rows) : list.text)
                return
            }
            let graph = try await readGraph(
                from: CacheClient(cacheFrom: [from], scratch: scratch, verification: options.verification()))
            if let diff {
                let older = try await readGraph(from: CacheClient(cacheFrom: [diff], scratch: scratch))
                let difference = try Difference(of: graph, from: older)
                print(try asJSON ? json(difference) : difference.text)
                return
            }
            let listing = try Listing(graph)
            if asJSON {
                print(try json(listing))
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
