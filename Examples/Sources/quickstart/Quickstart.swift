// Builds twice with a cache in a directory, then a third time after one input changed.
//
//     swift run quickstart            or, from the top of the checkout:   make quickstart
//
//     1. an empty cache
//     RUN    sources    8 files
//     …
//     2. the same build again
//     CACHED sources    8 files, fetched, verified and unpacked
//     …
//     3. README.md has changed
//     CACHED sources    …
//     RUN    documents  …
import ArgumentParser
import BuildCacheClient
import ExampleSupport
import Foundation

@main
struct Quickstart: AsyncParsableCommand {
    @Option(help: "The directory of the cache. It is emptied first.") var cache = ".quickstart-cache"
    @Option(help: "Which layers to keep: min or max.") var mode = CacheMode.max
    @Flag(help: "Keep what an earlier run left in the cache.") var keep = false

    func run() async throws {
        if !keep { try? FileManager.default.removeItem(atPath: cache) }
        try await WorkDirectory.withTemporary { context in
            try fill(context.url)
            for title in ["1. an empty cache", "2. the same build again", "3. README.md has changed"] {
                print(keep && title.hasPrefix("1") ? "1. what an earlier run left" : title)
                if title.hasPrefix("3") { try change(context.url.appending(path: "doc/README.md")) }
                // As on another machine: what is not in the cache is not here.
                try await ScratchStore.withTemporary { scratch in
                    try await WorkDirectory.withTemporary { try await build(context.url, in: $0.url, scratch) }
                }
            }
        }
        print("The cache is in \(cache): BuildKit, skopeo and umoci can read it.")
    }

    /// Copies files of this checkout: the context of the build.
    private func fill(_ context: URL) throws {
        var top = URL(fileURLWithPath: #filePath)
        for _ in 0..<4 { top.deleteLastPathComponent() }
        for (source, name) in [("Sources/BuildCacheCore/Values", "src"), ("", "doc")] {
            let directory = context.appending(path: name)
            try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
            for file in try files(in: top.appending(path: source)) where ["swift", "md"].contains(file.pathExtension) {
                try FileManager.default.copyItem(at: file, to: directory.appending(path: file.lastPathComponent))
            }
        }
    }

    private func change(_ file: URL) throws {
        let text = try String(contentsOf: file, encoding: .utf8) + "changed\n"
        try text.write(to: file, atomically: true, encoding: .utf8)
    }

    /// Runs what the cache does not know, unpacks what it knows, and writes down all of it.
    private func build(_ context: URL, in work: URL, _ scratch: ScratchStore) async throws {
        let source = try LocalCache(LocalOptions(src: cache), scratch: scratch)
        let destination = try LocalCache(
            LocalOptions(dest: cache), export: ExportOptions(mode: mode), scratch: scratch)
        let client = CacheClient(
            sources: [.init(name: cache, importer: source)], destinations: [.init(name: cache, exporter: destination)])
        try await client.withSession(store: scratch) { session in
            var done: [String: CachedStep] = [:]
            for step in Step.all {
                let result = try await perform(step, in: session, context, work, done)
                done[step.name] = result
                let count = try files(in: work.appending(path: step.name)).count
                print(
                    result.isCached ? "CACHED" : "RUN   ", step.name.padding(toLength: 10, withPad: " ", startingAt: 0),
                    "\(count) files" + (result.isCached ? ", fetched, verified and unpacked" : ""))
            }
        }
        print("")
    }

    /// Finds a step in the cache or runs it; in both cases its files are in a directory of its name then.
    private func perform(
        _ step: Step, in session: CacheSession, _ context: URL, _ work: URL, _ done: [String: CachedStep]
    ) async throws -> CachedStep {
        let out = work.appending(path: step.name)
        var read = step.inputs.map { work.appending(path: $0) }
        var inputs = step.inputs.compactMap { done[$0] }.map { CachedStep.Input.step($0) }
        if let copied = step.copies {
            read.append(context.appending(path: copied))
            inputs.append(.directory(context.appending(path: copied).path))
        }
        let result = try await session.step(step.operation, inputs: inputs) {
            try FileManager.default.createDirectory(at: out, withIntermediateDirectories: true)
            try step.run(read, out)
            guard step.extendsFirstInput, let base = done[step.inputs[0]] else {
                return [try await .directory(out.path)]
            }
            return base.layers + [try await .packing(LayerPacker(.difference(of: out.path, from: read[0].path)))]
        }
        if result.isCached { try await session.unpack(result, to: out.path) }
        return result
    }
}

extension CacheMode: @retroactive ExpressibleByArgument {}
