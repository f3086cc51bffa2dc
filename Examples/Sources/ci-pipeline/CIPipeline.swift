// Three jobs of a pipeline: each reads the caches of its branch and of main, and merges what it built into that of its branch.
//
//     swift run ci-pipeline            or, to keep the caches:   --directory .pipeline
//
//     main: nothing is cached
//       RUN    dependencies
//       RUN    compile
//       RUN    test
//       0 hits, 3 misses, …
//     feature: its sources changed, and its test fails
//       CACHED dependencies from main
//       RUN    compile
//       FAILED test: what was built so far is exported
//       1 hit, 2 misses, …
//     feature: its test is corrected
//       CACHED dependencies from …        (feature or main, whichever was read first)
//       CACHED compile from feature
//       RUN    test
//       2 hits, 1 miss, …
import ArgumentParser
import BuildCache
import ExampleSupport
import Foundation

@main
struct CIPipeline: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "ci-pipeline")
    @Option(help: "Where the caches are; without, a temporary directory.") var directory: String?

    func run() async throws {
        try await WorkDirectory.withTemporary { work in
            try await job("main: nothing is cached", in: work, branch: "main", sources: "1", tests: "1")
            try await job(
                "feature: its sources changed, and its test fails", in: work, branch: "feature", sources: "2",
                tests: "wrong")
            try await job("feature: its test is corrected", in: work, branch: "feature", sources: "2", tests: "2")
        }
    }

    private func job(
        _ title: String, in work: WorkDirectory, branch: String, sources: String, tests: String
    ) async throws {
        let top = directory ?? work.url.path
        print(title)
        try await ScratchStore.withTemporary { scratch in
            // Jobs of one branch may run at the same time: merged, none loses what another one built.
            let export = ExportOptions(mode: .max, writePolicy: .merge)
            let target = try LocalCache(LocalOptions(dest: "\(top)/\(branch)"), export: export, scratch: scratch)
            let client = CacheClient(
                sources: try (branch == "main" ? ["main"] : [branch, "main"]).map {
                    .init(name: $0, importer: try LocalCache(LocalOptions(src: "\(top)/\($0)"), scratch: scratch))
                },
                destinations: [.init(name: branch, exporter: target)])
            let session = client.openSession(store: scratch)
            defer { session.close() }

            var layers: [CacheSession.ResultLayer] = []
            var above: [[Link]] = []
            for (name, reads) in [("dependencies", "lock file"), ("compile", sources), ("test", tests)] {
                let content = try session.record(.record(content: Digest(of: "\(name) \(reads)".utf8)))
                let operation = Digest.record(operation: Digest(of: "make \(name)".utf8), output: 0)
                let step = try session.record(operation, inputs: above + [[Link(content)]])
                above = [[Link(step)]]
                if let hit = try await session.fetch(step) {
                    print("  CACHED \(name) from \(hit.source)")
                    layers = hit.layers.map { .stored($0) }
                } else if reads == "wrong" {
                    print("  FAILED \(name): what was built so far is exported")
                    break
                } else {
                    print("  RUN    \(name)")
                    layers.append(try await work.layer(file: name, Array("\(name) \(reads)".utf8)))
                    try session.addResult(layers, to: step)
                }
            }
            // Also after a failure: the next job begins where this one stopped.
            try await session.exportCaches().check()
            print("  \(session.report)")
        }
    }
}
