// Asks four caches at once, of which one is missing and one is damaged: neither holds up the build.
//
//     swift run multiple-caches
//
//     CACHED compile  from main
//     CACHED test     from branch
//     RUN    lint
//     branch: loaded, 2 records
//     main: loaded, 2 records
//     missing: no cache yet
//     damaged: failed: local import …/damaged/index.json: corrupted: …
//     2 hits, 1 miss, …; 1 problem: damaged: the cache counts as one without hits: …
import ArgumentParser
import BuildCache
import ExampleSupport
import Foundation

@main
struct MultipleCaches: AsyncParsableCommand {
    func run() async throws {
        try await WorkDirectory.withTemporary { try await run(in: $0) }
    }

    private func run(in work: WorkDirectory) async throws {
        try await ScratchStore.withTemporary { scratch in
            // What three earlier builds left behind, each with one step; then a disk loses the index of one.
            for (cache, step) in [("main", "compile"), ("branch", "test"), ("damaged", "lint")] {
                try await build([step], from: [], to: [cache], in: work, scratch)
            }
            try Data("not an index".utf8).write(to: work.url.appending(path: "damaged/index.json"))

            let steps = ["compile", "test", "lint"]
            let report = try await build(
                steps, from: ["branch", "main", "missing", "damaged"], to: [], in: work, scratch, say: { print($0) })
            for source in report.sources { print(source) }
            print(report)
        }
    }

    /// Takes from the caches what they know, runs the rest, and notes all of it.
    @discardableResult
    private func build(
        _ steps: [String], from sources: [String], to destinations: [String], in work: WorkDirectory,
        _ scratch: ScratchStore,
        say: (String) -> Void = { _ in }
    ) async throws -> SessionReport {
        func path(_ name: String) -> String { work.url.appending(path: name).path }
        let client = CacheClient(
            sources: try sources.map {
                .init(name: $0, importer: try LocalCache(LocalOptions(src: path($0)), scratch: scratch))
            },
            destinations: try destinations.map {
                .init(
                    name: $0,
                    exporter: try LocalCache(LocalOptions(dest: path($0)), export: .init(mode: .max), scratch: scratch))
            })
        let session = client.openSession(store: scratch)
        defer { session.close() }
        let sources = try session.record(.record(content: Digest(of: "what all steps read".utf8)))
        for name in steps {
            let operation = Digest.record(operation: Digest(of: "make \(name)".utf8), output: 0)
            let step = try session.record(operation, inputs: [[Link(sources)]])
            if let hit = try await session.fetch(step) {
                say("CACHED \(name.padding(toLength: 9, withPad: " ", startingAt: 0))from \(hit.source)")
            } else {
                say("RUN    \(name)")
                try session.addResult([try await work.layer(file: name, Array(name.utf8))], to: step)
            }
        }
        try await session.exportCaches().check()
        return session.report
    }
}
