public import BuildCacheBytes
public import BuildCacheCore
import NIOCore
import Synchronization

/// Blobs in memory, to be read.
public struct MemorySource: BlobSource {
    private let blobs: [Digest: [UInt8]]

    /// Holds these blobs, each under its digest.
    public init(_ blobs: some Sequence<[UInt8]>) {
        self.blobs = Dictionary(blobs.map { (Digest(of: $0), $0) }) { first, _ in first }
    }

    /// Opens a blob, as `BlobSource.open(_:range:)`.
    public func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        guard let bytes = blobs[descriptor.digest] else { throw .missing(descriptor) }
        return BlobStream(chunksOf: bytes, range: range)
    }
}

/// Blobs in memory with their ages, to be read and written.
public final class MemoryStore: BlobStore {
    struct Blob: Sendable {
        var bytes: [UInt8]
        var modifiedAt: Timestamp
    }

    let blobs = Mutex<[Digest: Blob]>([:])
    /// The configs of a ``MemoryCache`` by their names.
    let configs = Mutex<[String: Config]>([:])
    /// The signature files of documents.
    let signatures = Mutex<[Digest: Config]>([:])
    let now: @Sendable () -> Timestamp

    /// A config, and how many were written before it.
    struct Config: Sendable {
        var bytes: [UInt8]
        var version: Int
        var modifiedAt: Timestamp
    }

    /// Makes an empty store.
    ///
    /// - Parameter now: What time it is: of what is written, and of what is renewed.
    public init(now: @escaping @Sendable () -> Timestamp = { .now() }) { self.now = now }

    /// The digests of all blobs.
    public var digests: Set<Digest> { blobs.withLock { Set($0.keys) } }

    /// Puts bytes under a name, whatever they are.
    package func write(_ bytes: [UInt8], as name: String) {
        let now = now()
        configs.withLock { configs in
            configs[name] = Config(bytes: bytes, version: (configs[name]?.version ?? 0) + 1, modifiedAt: now)
        }
    }

    /// The bytes under a name.
    package func bytes(named name: String) -> [UInt8]? { configs.withLock { $0[name]?.bytes } }

    /// The signature file of a document.
    package func signatureFile(of document: Digest) -> [UInt8]? { signatures.withLock { $0[document]?.bytes } }

    /// Puts bytes in the place of a signature file, whatever they are; `nil` removes it.
    package func writeSignatureFile(_ bytes: [UInt8]?, of document: Digest) {
        let now = now()
        signatures.withLock { files in
            files[document] = bytes.map {
                Config(bytes: $0, version: (files[document]?.version ?? 0) + 1, modifiedAt: now)
            }
        }
    }

    /// Forgets a blob, as somebody might who cleans up.
    public func remove(_ digest: Digest) { blobs.withLock { $0[digest] = nil } }

    /// Makes a blob as old as a new one, and says whether it is there.
    public func renew(_ digest: Digest) -> Bool {
        blobs.withLock { blobs in
            blobs[digest]?.modifiedAt = now()
            return blobs[digest] != nil
        }
    }

    /// Opens a blob, as `BlobSource.open(_:range:)`.
    public func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        guard let bytes = blobs.withLock({ $0[descriptor.digest]?.bytes }) else { throw .missing(descriptor) }
        return BlobStream(chunksOf: bytes, range: range)
    }

    /// Size and age of a blob, as `BlobStore.stat(_:)`.
    public func stat(_ digest: Digest) async throws -> BlobStat? {
        blobs.withLock { $0[digest] }.map { BlobStat(size: Int64($0.bytes.count), modifiedAt: $0.modifiedAt) }
    }

    /// Stores a blob, as `BlobStore.put(_:from:)`.
    @discardableResult
    public func put(_ descriptor: Descriptor, from source: any BlobSource) async throws -> PutOutcome {
        if blobs.withLock({ $0[descriptor.digest] }) != nil { return .alreadyPresent }
        var bytes: [UInt8] = []
        for try await chunk in try await source.open(descriptor, range: nil) { bytes += chunk.readableBytesView }
        guard Digest(of: bytes) == descriptor.digest, Int64(bytes.count) == descriptor.size else {
            throw CacheError(
                .corrupted, "the source gave other bytes than those of the blob",
                context: .init(subject: descriptor.digest.description))
        }
        let blob = Blob(bytes: bytes, modifiedAt: now())
        blobs.withLock { $0[descriptor.digest] = blob }
        return .written
    }
}

extension BlobStream {
    /// Many small chunks: who reads them must not rely on getting all at once.
    fileprivate init(chunksOf bytes: [UInt8], range: Range<Int64>?) {
        let all = 0..<Int64(bytes.count)
        let part = (range ?? all).clamped(to: all)
        self.init(length: Int64(part.count)) {
            var rest = bytes[Int(part.lowerBound)..<Int(part.upperBound)]
            return {
                guard !rest.isEmpty else { return nil }
                defer { rest = rest.dropFirst(1000) }
                return ByteBuffer(bytes: rest.prefix(1000))
            }
        }
    }
}

extension Error where Self == CacheError {
    fileprivate static func missing(_ descriptor: Descriptor) -> CacheError {
        CacheError(.notFound, "the blob is not in memory", context: .init(subject: descriptor.digest.description))
    }
}
