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
    /// While reading it throws ``CacheError`` `.corrupted`, as soon as there are too many bytes and otherwise at the end.
    package func verified(as descriptor: Descriptor) -> BlobStream {
        let stream = self
        return BlobStream(length: descriptor.size) {
            var iterator = stream.makeAsyncIterator()
            var held: ByteBuffer?
            var failure: CacheError?
            var ended = false
            let passed = StreamDigest()

            func fail(_ problem: String) -> CacheError {
                let error = CacheError(.corrupted, problem, context: .init(subject: "\(descriptor.digest)"))
                failure = error
                held = nil
                return error
            }
            return {
                if let failure { throw failure }
                while !ended {
                    guard let chunk = try await iterator.next() else {
                        ended = true
                        let value = passed.finish()
                        guard value.size == descriptor.size else {
                            throw fail("the blob has \(value.size) bytes instead of \(descriptor.size)")
                        }
                        guard value.digest == descriptor.digest else {
                            throw fail("the blob's digest is \(value.digest)")
                        }
                        break
                    }
                    await passed.update(chunk)
                    guard passed.size <= descriptor.size else {
                        throw fail("the blob has more than the \(descriptor.size) bytes it should have")
                    }
                    defer { held = chunk }
                    if let previous = held { return previous }
                }
                defer { held = nil }
                return held
            }
        }
    }
}
