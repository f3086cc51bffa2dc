public import BuildCacheBytes
public import BuildCacheCore
public import BuildCacheOCI
import NIOCore

extension BlobSource {
    /// Reads a blob whole and verifies it.
    ///
    /// - Parameters:
    ///   - descriptor: The blob.
    ///   - limit: The most bytes to read.
    /// - Throws: `CacheError` `.corrupted` for other bytes than the descriptor names, `.limitExceeded` past `limit`, and
    ///   what the source throws.
    public func bytes(of descriptor: Descriptor, limit: Int) async throws -> [UInt8] {
        let context = CacheError.Context(subject: descriptor.digest.description)
        func tooLarge() -> CacheError {
            CacheError(.limitExceeded, "the document has more bytes than the limit of \(limit)", context: context)
        }
        guard descriptor.size <= Int64(limit) else { throw tooLarge() }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(max(0, Int(descriptor.size)))
        for try await chunk in try await open(descriptor, range: nil) {
            guard bytes.count + chunk.readableBytes <= limit else { throw tooLarge() }
            bytes.append(contentsOf: chunk.readableBytesView)
        }
        guard Digest(of: bytes) == descriptor.digest else {
            throw CacheError(
                .corrupted,
                "the document has \(bytes.count) bytes with another digest; it was damaged after it was written",
                context: context)
        }
        return bytes
    }
}

extension BlobStore {
    /// Stores a document as a blob, unless it is there.
    ///
    /// - Throws: As `put(_:from:)`.
    @discardableResult
    public func put(_ document: RawDocument) async throws -> PutOutcome {
        try await put(document.descriptor, from: DocumentSource(document))
    }
}

/// A document as the source of its own bytes, whatever is asked for.
package struct DocumentSource: BlobSource {
    private let document: RawDocument

    package init(_ document: RawDocument) { self.document = document }

    package func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        BlobStream(document.bytes, range: range)
    }
}
