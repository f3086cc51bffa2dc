// Builds twice with a cache in a directory, then a third time after one input changed.
//
//     swift run quickstart            or, from the top of the checkout:   make quickstart
//
//     1. an empty cache
//     RUN    sources    made 14 files, 46.9 KiB
//     …
//     2. the same build again
//     CACHED sources    14.5 KiB fetched and verified
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
        for (title, changed) in [
            ("1. an empty cache", nil), ("2. the same build again", nil), ("3. README.md has changed", "README.md"),
        ] {
            print(keep && title.hasPrefix("1") ? "1. what an earlier run left" : title)
            // As on another machine: what is not in the cache is not here.
            try await ScratchStore.withTemporary { scratch in try await build(in: scratch, changed: changed) }
        }
        print("The cache is in \(cache): BuildKit, skopeo and umoci can read it.")
    }

    /// Runs what the cache does not know, and writes down all of it.
    private func build(in scratch: ScratchStore, changed: String?) async throws {
        let source = try LocalCache(LocalOptions(src: cache), scratch: scratch)
        let destination = try LocalCache(
            LocalOptions(dest: cache), export: ExportOptions(mode: mode), scratch: scratch)
        let client = CacheClient(
            sources: [.init(name: cache, importer: source)], destinations: [.init(name: cache, exporter: destination)])
        let meter = ProgressMeter()
        var options = CacheSession.Options()
        options.progress = { name, event in meter.report(event, of: name) }
        let session = client.openSession(store: scratch, options: options)
        defer { session.close() }
        var build = Build(session, scratch)
        for step in try Step.all(changed: changed) {
            let (isCached, note) = try await build.perform(step)
            let name = step.name.padding(toLength: 11, withPad: " ", startingAt: 0)
            print((isCached ? "CACHED " : "RUN    ") + name + note)
        }
        let report = try await ProgressBar.show(meter) { _ in try await session.exportCaches() }
        try report.check()
        for problem in session.report.problems { print("warning: \(problem)") }
        for case .success(let receipt) in report.outcomes.map(\.result) {
            let written = receipt.transfers.values.filter { $0 == .written }.count
            for (name, manifest) in receipt.published {
                print("       \(name) is \(short(manifest.digest)), \(written) blobs written\n")
            }
        }
    }
}

extension CacheMode: @retroactive ExpressibleByArgument {}
