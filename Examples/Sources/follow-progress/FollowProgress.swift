// Compresses and writes a cache of some MiB, and tells five times a second how far it is; on a terminal and in a log alike.
//
//     swift run follow-progress            or with another size:   --layers 40 --mebibytes 2
//
//      25 %  3 of 12 layers     4.6 MiB     2.6 MiB/s    6 s to go
//      …
//     100 % 12 of 12 layers    18.3 MiB     5.0 MiB/s    0 s to go
//     0 hits, 12 misses, 0 bytes fetched, 19229486 bytes written, …
import ArgumentParser
import BuildCache
import ExampleSupport
import Foundation

@main
struct FollowProgress: AsyncParsableCommand {
    @Option(help: "How many layers to make.") var layers = 12
    @Option(help: "MiB in each.") var mebibytes = 3

    func run() async throws {
        try await WorkDirectory.withTemporary { try await run(in: $0) }
    }

    private func run(in work: WorkDirectory) async throws {
        try await ScratchStore.withTemporary { scratch in
            let cache = work.url.appending(path: "cache").path
            let client = try CacheClient(cacheTo: ["type=local,\"dest=\(cache)\",mode=max"], scratch: scratch)

            // The meter takes events from any task, and is asked by whoever draws, as often as that likes.
            let meter = ProgressMeter()
            var options = CacheSession.Options()
            options.progress = { name, event in meter.report(event, of: name) }
            let session = client.openSession(store: scratch, options: options)
            defer { session.close() }
            let source = try session.record(.record(content: Digest(of: "what all steps read".utf8)))
            for number in 1...layers {
                let operation = Digest.record(operation: Digest(of: "step \(number)".utf8), output: 0)
                let step = try session.record(operation, inputs: [[Link(source)]])
                guard try await session.lookup(step) == nil else { continue }
                let bytes = FollowProgress.bytes(mebibytes << 20, seed: UInt64(number))
                try session.addResult([try await work.layer(file: "file", bytes)], to: step)
            }

            let drawing = Task {
                while !Task.isCancelled {
                    FollowProgress.show(meter.snapshot())
                    try await Task.sleep(for: .milliseconds(200))
                }
            }
            defer { drawing.cancel() }
            try await session.exportCaches().check()
            drawing.cancel()
            FollowProgress.show(meter.snapshot())
            print(session.report)
        }
    }

    private static func show(_ now: ProgressMeter.Snapshot) {
        guard now.totals.layers > 0 else { return }
        func right(_ text: String, _ width: Int) -> String {
            String(repeating: " ", count: max(0, width - text.count)) + text
        }
        let remaining = now.remaining.map { "\(Int(($0 / .seconds(1)).rounded(.up))) s to go" } ?? "…"
        print(
            right("\(Int(100 * now.fraction)) %", 5),
            right("\(now.totals.finishedLayers) of \(now.totals.layers) layers", 15),
            right(size(now.totals.bytes), 11), right("\(size(Int64(now.bytesPerSecond)))/s", 13), right(remaining, 12))
    }

    /// Bytes of which a compressor makes about half.
    private static func bytes(_ count: Int, seed: UInt64) -> [UInt8] {
        var state = seed
        return Array(unsafeUninitializedCapacity: count) { buffer, initialized in
            for index in 0..<count {
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                buffer[index] = UInt8(truncatingIfNeeded: state >> 60)
            }
            initialized = count
        }
    }
}
