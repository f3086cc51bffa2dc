package import BuildCacheCore
import NIOCore

/// A source whose blobs are checked for digest and size while they are read.
///
/// The last chunk of a blob is handed out only after all bytes proved right, so whoever has read to the end has read the
/// blob that was asked for. Parts of a blob cannot be checked and pass as they are.
package struct VerifiedSource: BlobSource {
    private let base: any BlobSource

    package init(_ base: any BlobSource) { self.base = base }

    package func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        let stream = try await base.open(descriptor, range: range)
        return range == nil ? stream.verified(as: descriptor) : stream
    }
}

extension BlobStream {
    /// The same bytes, failing before their last chunk unless digest and size are those of `descriptor`.
    ///
    /// While reading it throws `CacheError` `.corrupted`, as soon as there are too many bytes and otherwise at the end. Bytes that
    /// are checked for that already are not checked twice.
    package func verified(as descriptor: Descriptor) -> BlobStream {
        let stream = self
        let expected = StreamDigest.Value(digest: descriptor.digest, size: descriptor.size)
        guard verified != expected else { return self }
        var checked = BlobStream(length: descriptor.size) {
            var iterator = stream.makeAsyncIterator()
            var held: ByteBuffer?
            var failure: CacheError?
            var ended = false
            let passed = StreamDigest()

            func fail(_ error: CacheError) -> CacheError {
                failure = error
                held = nil
                return error
            }
            return {
                if let failure { throw failure }
                while !ended {
                    guard let chunk = try await iterator.next() else {
                        ended = true
                        do throws(CacheError) {
                            try passed.finish().check(against: descriptor)
                        } catch {
                            throw fail(error)
                        }
                        break
                    }
                    await passed.update(chunk)
                    guard passed.size <= descriptor.size else {
                        throw fail(.tooLong(descriptor))
                    }
                    defer { held = chunk }
                    if let previous = held { return previous }
                }
                defer { held = nil }
                return held
            }
        }
        checked.verified = expected
        return checked
    }
}

extension BlobStream {
    /// The same bytes, failing with `.corrupted` as soon as there are more than they should be, so that no source fills the disk.
    func limited(to descriptor: Descriptor) -> BlobStream {
        let stream = self
        return BlobStream(length: descriptor.size) {
            var iterator = stream.makeAsyncIterator()
            var rest = descriptor.size
            return {
                guard let chunk = try await iterator.next() else { return nil }
                rest -= Int64(chunk.readableBytes)
                guard rest >= 0 else { throw CacheError.tooLong(descriptor) }
                return chunk
            }
        }
    }
}

extension StreamDigest.Value {
    /// Checks that these are the bytes that `descriptor` names.
    func check(against descriptor: Descriptor) throws(CacheError) {
        let context = CacheError.Context(subject: "\(descriptor.digest)")
        guard size == descriptor.size else {
            throw CacheError(
                .corrupted, "the blob has \(size) bytes instead of \(descriptor.size)", context: context)
        }
        guard digest == descriptor.digest else {
            throw CacheError(.corrupted, "the blob's digest is \(digest)", context: context)
        }
    }
}

extension CacheError {
    fileprivate static func tooLong(_ descriptor: Descriptor) -> CacheError {
        CacheError(
            .corrupted, "the blob has more than the \(descriptor.size) bytes it should have",
            context: .init(subject: "\(descriptor.digest)"))
    }
}
