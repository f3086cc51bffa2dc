// Builds twice with a cache in a directory, then a third time after one input changed.
//
//     swift run quickstart            or, from the top of the checkout:   make quickstart
//
//     1. an empty cache
//     RUN    sources    copies 10 files, 60.1 KiB
//     …
//     2. the same build again
//     CACHED sources    60.5 KiB fetched and verified
//     …
//     3. README.md has changed
//     CACHED sources    …
//     RUN    documents  …
import ArgumentParser
import BuildCache
import ExampleSupport
import Foundation

@main
struct Quickstart: AsyncParsableCommand {
    @Option(help: "The directory of the cache. It is emptied first.") var cache = ".quickstart-cache"
    @Option(help: "Which layers to keep: min or max.") var mode = "max"
    @Flag(help: "Keep what an earlier run left in the cache.") var keep = false

    func run() async throws {
        if !keep { try? FileManager.default.removeItem(atPath: cache) }
        try await ScratchStore.withTemporary { scratch in
            let client = try CacheClient(
                cacheFrom: ["type=local,\"src=\(cache)\""], cacheTo: ["type=local,\"dest=\(cache)\",mode=\(mode)"],
                scratch: scratch)
            for (title, changed) in [
                ("1. an empty cache", nil), ("2. the same build again", nil), ("3. README.md has changed", "README.md"),
            ] {
                print(keep && title.hasPrefix("1") ? "1. what an earlier run left" : title)
                try await build(with: client, changed: changed)
            }
        }
        print("The cache is in \(cache): BuildKit, skopeo and umoci can read it.")
    }

    /// Runs what the cache does not know, and writes down all of it.
    private func build(with client: CacheClient, changed: String?) async throws {
        let known = try await client.importCaches()
        for case .failure(let error) in known.outcomes.map(\.result) { print("warning: \(error)") }
        var build = Build(known: known)
        for step in try Step.all(changed: changed) {
            let (isCached, note) = try await build.perform(step)
            print(
                (isCached ? "CACHED " : "RUN    ") + step.name.padding(toLength: 11, withPad: " ", startingAt: 0) + note
            )
        }
        let report = try await ProgressBar.show { [build] bar in
            try await client.exportCaches(build.graph, from: build.source) { bar.report($1, of: $0.name) }
        }
        try report.check()
        for case .success(let receipt) in report.outcomes.map(\.result) {
            let written = receipt.transfers.values.filter { $0 == .written }.count
            for (name, manifest) in receipt.published {
                print("       \(name) is \(short(manifest.digest)), \(written) blobs written\n")
            }
        }
    }
}
