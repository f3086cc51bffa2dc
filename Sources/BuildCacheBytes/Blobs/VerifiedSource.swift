public import BuildCacheCore
import NIOCore

/// A source whose blobs are checked for digest and size while they are read.
///
/// The last bytes of a blob are handed out only after all of them proved right, so a reader that comes to the end has read the
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
    public func verified(as descriptor: Descriptor) -> BlobStream {
        let expected = StreamDigest.Value(digest: descriptor.digest, size: descriptor.size)
        guard verified != expected else { return self }
        var checked = checked(length: descriptor.size) { (passed: Int64) throws(CacheError) in
            guard passed <= descriptor.size else { throw CacheError.tooLong(descriptor) }
        } atEnd: { (all: StreamDigest.Value) throws(CacheError) in
            try all.check(against: descriptor)
        }
        checked.verified = expected
        return checked
    }

    /// The same bytes of an uncompressed layer, failing before their last chunk unless their digest is the diffID that `layer` claims.
    ///
    /// Nothing is checked if it claims none. While reading it throws `CacheError` `.corrupted`.
    package func verified(diffIDOf layer: Descriptor) -> BlobStream {
        guard let expected = layer.diffID else { return self }
        return checked(length: length) { (_: Int64) throws(CacheError) in
        } atEnd: { (all: StreamDigest.Value) throws(CacheError) in
            guard all.digest == expected.digest else {
                throw CacheError(
                    .corrupted, "the layer's diffID is \(all.digest), its descriptor says \(expected)",
                    context: .init(subject: "\(layer.digest)"))
            }
        }
    }

    /// The same bytes, their last chunk held back until all of them were checked.
    ///
    /// Chunks without bytes do not come out: the last of them would let out the real last one unchecked.
    ///
    /// - Parameters:
    ///   - length: Bytes to come, `nil` if unknown.
    ///   - checkSize: Gets the number of bytes so far, with each chunk and before it comes out.
    ///   - checkAll: Gets digest and number of all bytes.
    private func checked(
        length: Int64?, _ checkSize: @escaping @Sendable (Int64) throws(CacheError) -> Void,
        atEnd checkAll: @escaping @Sendable (StreamDigest.Value) throws(CacheError) -> Void
    ) -> BlobStream {
        let stream = self
        return BlobStream(length: length) {
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
                        do throws(CacheError) { try checkAll(passed.finish()) } catch { throw fail(error) }
                        break
                    }
                    guard chunk.readableBytes > 0 else {
                        try Task.checkCancellation()
                        continue
                    }
                    await passed.update(chunk)
                    do throws(CacheError) { try checkSize(passed.size) } catch { throw fail(error) }
                    defer { held = chunk }
                    if let previous = held { return previous }
                }
                defer { held = nil }
                return held
            }
        }
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
