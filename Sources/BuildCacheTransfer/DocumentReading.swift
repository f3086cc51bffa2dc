package import BuildCacheBytes
package import BuildCacheCore
package import BuildCacheOCI
import NIOCore

extension BlobSource {
    /// Reads a small blob whole and checks that it is what it should be.
    ///
    /// - Parameter limit: The most bytes to read.
    /// - Throws: `CacheError` `.corrupted` for other bytes than the descriptor names, `.limitExceeded` past `limit`, and
    ///   what the source throws.
    package func document(_ descriptor: Descriptor, limit: Int) async throws -> [UInt8] {
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

/// A document as the source of its own bytes, whatever is asked for.
package struct DocumentSource: BlobSource {
    private let document: RawDocument

    package init(_ document: RawDocument) { self.document = document }

    package func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        let all = 0..<Int64(document.bytes.count)
        let part = (range ?? all).clamped(to: all)
        return BlobStream(ByteBuffer(bytes: document.bytes[Int(part.lowerBound)..<Int(part.upperBound)]))
    }
}
