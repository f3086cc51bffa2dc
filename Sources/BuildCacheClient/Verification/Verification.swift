import BuildCacheBytes
import BuildCacheCore
import BuildCacheOCI
import Synchronization

/// A verification under way: collects the layers of some caches, then checks each once.
///
/// It reads from the store itself, not through ``CacheStore/layers``: those would note damage for the next export.
struct Verification: Sendable {
    /// The store, as far as a verification needs it.
    struct Access: Sendable {
        var source: any BlobSource
        var presence: @Sendable ([Descriptor]) async throws -> [Digest: LayerPresence]
        var stat: @Sendable (Digest) async throws -> BlobStat?

        init(_ store: any CacheStore) {
            source = store
            presence = { try await store.presence(of: $0) }
            stat = { try await store.stat($0) }
        }

        /// Of a cache whose store is out of reach, and whose missing layers are known already.
        init(imported blobs: any BlobSource) {
            source = blobs
            presence = { Dictionary($0.map { ($0.digest, .current) }) { first, _ in first } }
            stat = { _ in nil }
        }
    }

    /// A layer as a cache describes it, without the annotations that do not matter here: there may be a million.
    ///
    /// Caches that claim different things of one digest are checked each on its own.
    struct Claim: Hashable, Sendable {
        var digest: Digest
        var size: Int64
        var diffID: DiffID?
        var mediaType: MediaType

        init(_ layer: Descriptor) {
            (digest, size, diffID, mediaType) = (layer.digest, layer.size, layer.diffID, layer.mediaType)
        }

        var descriptor: Descriptor {
            let notes = diffID.map { [Annotation.uncompressed: $0.description] } ?? [:]
            return Descriptor(mediaType: mediaType, digest: digest, size: size, annotations: notes)
        }
    }

    typealias Damage = VerificationReport.Damage

    /// Layers that may fail because the store does not answer, before that fails the verification.
    ///
    /// A file on a bad disk is damage, a network that is down is not.
    private static let maximumFailures = 16

    private(set) var report: VerificationReport
    private let access: Access
    private let limit: Int
    private let decompression: DecompressionLimit
    private let progress: ProgressSink
    private var claims: [Claim: [Int]] = [:]

    init(
        _ report: VerificationReport, _ access: Access, limit: Int, decompression: DecompressionLimit,
        progress: ProgressSink
    ) {
        self.report = report
        self.access = access
        self.limit = limit
        self.decompression = decompression
        self.progress = progress
    }

    // MARK: Collecting

    /// Adds a cache whose documents were read.
    mutating func add(_ contents: CacheContents) {
        let number = report.names.count
        report.names.append(contents.name)
        report.damaged += contents.damaged
        for problem in contents.problems { add(problem) }
        for layer in contents.layers { claims[layer, default: []].append(number) }
    }

    /// Adds something that is not checked.
    mutating func add(_ problem: CacheProblem) {
        report.problems.append(problem)
        progress(.problem(problem))
    }

    // MARK: Checking

    /// Checks all layers.
    ///
    /// - Throws: The error of a store that does not answer; `CancellationError`.
    mutating func run() async throws -> VerificationReport {
        let layers = claims.keys.sorted { ($0.digest, $0.size) < ($1.digest, $1.size) }
        let sizes = Dictionary(layers.map { ($0.digest, $0.size) }) { first, _ in first }
        report.layerCount = sizes.count
        report.layerBytes = Array(sizes.values).saturatingSum()
        progress(.planned(layers: layers.count, bytes: report.layerBytes))

        let states = try await access.presence(layers.map(\.descriptor))
        let counts = Dictionary(layers.map { ($0.digest, 1) }, uniquingKeysWith: +)
        let failures = Failures()
        let found = try await layers.mapConcurrently(limit: limit) { [self] layer -> (Claim, Damage)? in
            try Task.checkCancellation()
            // An answer is about the size that was asked for.
            let isUnique = counts[layer.digest] == 1
            let known = isUnique ? states : try await access.presence([layer.descriptor])
            let damage = try await damage(of: layer, known[layer.digest] ?? .absent, failures)
            progress(.verified(layer.digest, isSound: damage == nil))
            return damage.map { (layer, $0) }
        }
        for (layer, damage) in found.compactMap({ $0 }) {
            var damage = damage
            damage.names = (claims[layer] ?? []).map { report.names[$0] }.sorted()
            report.damaged.append(damage)
        }
        report.damaged.sort { left, right in
            let (first, second) = (left.names.first ?? "", right.names.first ?? "")
            return first == second
                ? (left.digest?.description ?? "") < (right.digest?.description ?? "") : first < second
        }
        return report
    }

    private func damage(
        of layer: Claim, _ presence: LayerPresence, _ failures: Failures
    ) async throws -> Damage? {
        if case .archived(let blob) = presence { return Damage(layer.digest, .archived, "\(blob)") }
        if report.depth == .everyByte {
            // Read even if the store takes it for missing or damaged: the bytes tell.
            do {
                try await read(layer.descriptor)
                return nil
            } catch let error as CacheError {
                return try await damage(of: layer, error, failures)
            }
        }
        switch presence {
        case .damaged: return try await damagedBytes(of: layer, "other bytes were read before")
        case .absent: return Damage(layer.digest, .missing, "the store does not have it")
        default: return nil
        }
    }

    /// Reads a layer to its end, verified.
    private func read(_ layer: Descriptor) async throws {
        let source = MeasuredSource(access.source, progress: progress)
        let isTar = layer.diffID != nil && layer.mediaType.layer != nil
        let stream =
            isTar
            ? try await source.openTar(of: layer, limit: decompression)
            : try await VerifiedSource(source).open(layer, range: nil)
        for try await _ in stream { try Task.checkCancellation() }
    }

    private func damage(of layer: Claim, _ error: CacheError, _ failures: Failures) async throws -> Damage {
        if let archived = error.cause as? ArchivedBlob { return Damage(layer.digest, .archived, "\(archived)") }
        switch error.code {
        case .notFound: return Damage(layer.digest, .missing, error.message)
        case .corrupted: return try await damagedBytes(of: layer, error.message)
        case .limitExceeded, .unsupported, .rejected: return Damage(layer.digest, .unreadable, error.message)
        default:
            guard failures.count() <= Verification.maximumFailures else { throw error }
            return Damage(layer.digest, .unreadable, error.message)
        }
    }

    /// Tells bytes that end early from wrong ones.
    private func damagedBytes(of layer: Claim, _ message: String) async throws -> Damage {
        if let stored = try await access.stat(layer.digest)?.size, stored != layer.size {
            return Damage(
                layer.digest, stored < layer.size ? .cutShort : .corrupted,
                "\(stored) of \(layer.size) bytes are stored")
        }
        return Damage(layer.digest, .corrupted, message)
    }
}

/// A counter of layers that could not be read because the store did not answer.
private final class Failures: Sendable {
    private let number = Mutex(0)

    /// Counts one more.
    func count() -> Int {
        number.withLock { number in
            number += 1
            return number
        }
    }
}

extension VerificationReport.Damage {
    /// Damage of a layer; the names are filled in later.
    init(_ digest: Digest?, _ kind: Kind, _ message: String) {
        self.init(names: [], digest: digest, kind: kind, message: message)
    }
}
