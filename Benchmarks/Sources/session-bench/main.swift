// How long a lookup waits for sources that do not matter.
//
//     swift run -c release session-bench [LATENCY IN MILLISECONDS] [ROUNDS]
//
// Three sources: one that never answers, one that answers garbage, and one that needs the latency and then has the step. Promised: the
// lookup answers within that latency and 50 ms.
import BuildCache

/// A backend that needs a while, and then does what it is told.
struct Slow: CacheBackend {
    var latency: Duration
    var answer: @Sendable () throws -> ImportedCache?
    var traits: BackendTraits { BackendTraits(name: "slow", transfersInFlight: 1, envelope: .bareConfig) }

    func exportCache(
        _ graph: LayerGraph, from source: LayerSource, progress: ProgressSink
    ) async throws -> ExportReceipt { ExportReceipt() }

    func importCache(progress: ProgressSink) async throws -> ImportedCache? {
        try await Task.sleep(for: latency)
        return try answer()
    }
}

/// Nobody reads layers here.
struct NoBlobs: BlobSource {
    func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        throw CacheError(.notFound, "there are no layers in this benchmark")
    }
}

let latency = Duration.milliseconds(CommandLine.arguments.count > 1 ? Int(CommandLine.arguments[1]) ?? 200 : 200)
let rounds = CommandLine.arguments.count > 2 ? Int(CommandLine.arguments[2]) ?? 20 : 20

// A chain of 10 000 steps, as large as real caches are; the last one is asked for.
var graph = LayerGraph()
var last = try graph.addRecord(.record(content: Digest(of: "root".utf8)))
var digests: [Digest] = []
for number in 0..<10_000 {
    let layer = try graph.addLayer(
        Descriptor(mediaType: .layer(.gzip), digest: Digest(of: "layer \(number)".utf8), size: 1))
    digests.append(.record(operation: Digest(of: "step \(number)".utf8), output: 0))
    last = try graph.addRecord(
        digests[number], inputs: [[Link(last)]], results: [CacheResult(layer: layer, createdAt: .now())])
}
let cache = try ImportedCache(parts: [ImportedCache.Part(manifest: nil, graph: graph)], blobs: NoBlobs())

let client = CacheClient(
    sources: [
        .init(name: "hangs", backend: Slow(latency: .seconds(3600)) { nil }),
        .init(name: "garbage", backend: Slow(latency: .zero) { throw CacheError(.corrupted, "this is no cache") }),
        .init(name: "good", backend: Slow(latency: latency) { cache }),
    ], destinations: [])
var waits: [Duration] = []
for _ in 0..<rounds {
    let started = ContinuousClock.now
    let waited = try await ScratchStore.withTemporary { scratch in
        let session = client.openSession(store: scratch)
        var step = try session.record(.record(content: Digest(of: "root".utf8)))
        for digest in digests { step = try session.record(digest, inputs: [[Link(step)]]) }
        guard try await session.lookup(step)?.source == "good" else { fatalError("the lookup must hit") }
        return ContinuousClock.now - started
    }
    waits.append(waited)
}
waits.sort()
func milliseconds(_ duration: Duration) -> Int { Int(duration / .milliseconds(1)) }
print("latency of the source \(milliseconds(latency)) ms; lookups answered after:")
print(
    "  middle \(milliseconds(waits[waits.count / 2])) ms, slowest \(milliseconds(waits[waits.count - 1])) ms of \(rounds)"
)
print("  that is at most \(milliseconds(waits[waits.count - 1] - latency)) ms more (promised: 50 ms)")
