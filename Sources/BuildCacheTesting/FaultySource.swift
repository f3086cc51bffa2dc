public import BuildCacheBytes
public import BuildCacheCore
import NIOCore
import Synchronization

/// A source that does one thing wrong.
public final class FaultySource: BlobSource {
    /// What goes wrong.
    @nonexhaustive
    public enum Fault: Hashable, Sendable {
        /// The n-th blob that is opened, counted from 1, cannot be: `.unavailable`.
        case opening(Int)
        /// The n-th blob that is opened breaks off after so many bytes: `.unavailable`.
        case reading(Int, after: Int)
        /// The n-th blob that is opened waits for ever, until its task is cancelled.
        case hanging(Int)
        /// This blob is not there: `.notFound`.
        case missing(Digest)
        /// This blob has one byte changed.
        case changed(Digest)
        /// This blob ends one byte early.
        case cut(Digest)
    }

    private let base: any BlobSource
    private let fault: Fault
    private let count = Mutex(0)
    private let hangs: AsyncStream<Void>
    private let hanging: AsyncStream<Void>.Continuation

    /// Reads from `base`, but for `fault`.
    public init(_ base: any BlobSource, _ fault: Fault) {
        self.base = base
        self.fault = fault
        (hangs, hanging) = AsyncStream.makeStream()
    }

    /// How many blobs were opened.
    public var opened: Int { count.withLock { $0 } }

    /// Returns when a blob is being waited for that will never come.
    ///
    /// To be called once, with a fault of `.hanging`.
    public func waitUntilHanging() async {
        for await _ in hangs { return }
    }

    /// Opens a blob, as `BlobSource.open(_:range:)`.
    public func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        let number = count.withLock { count in
            count += 1
            return count
        }
        switch fault {
        case .opening(number): throw FaultySource.failure
        case .hanging(number):
            hanging.yield()
            // Ends with the cancellation of this task and not otherwise.
            for await _ in AsyncStream<Never>.makeStream().stream {}
            try Task.checkCancellation()
            return try await base.open(descriptor, range: range)
        case .missing(descriptor.digest):
            throw CacheError(.notFound, "the blob is gone", context: .init(subject: descriptor.digest.description))
        case .reading(number, let limit):
            return try await base.open(descriptor, range: range).broken(after: limit)
        case .changed(descriptor.digest):
            return try await base.open(descriptor, range: range).mapFirst { $0.withFirstByteChanged }
        case .cut(descriptor.digest):
            return try await base.open(descriptor, range: range).mapFirst {
                $0.getSlice(at: $0.readerIndex, length: $0.readableBytes - 1)
            }
        default: return try await base.open(descriptor, range: range)
        }
    }

    fileprivate static let failure = CacheError(.unavailable, "the source fails because the test wants it to")
}

extension BlobStream {
    fileprivate func broken(after limit: Int) -> BlobStream {
        BlobStream(length: length) {
            var iterator = makeAsyncIterator()
            var rest = limit
            return {
                guard rest > 0, let chunk = try await iterator.next() else { throw FaultySource.failure }
                let part = chunk.getSlice(at: chunk.readerIndex, length: Swift.min(rest, chunk.readableBytes))
                rest -= chunk.readableBytes
                return part
            }
        }
    }

    fileprivate func mapFirst(_ change: @escaping @Sendable (ByteBuffer) -> ByteBuffer?) -> BlobStream {
        BlobStream(length: length) {
            var iterator = makeAsyncIterator()
            var isFirst = true
            return {
                let chunk = try await iterator.next()
                defer { isFirst = false }
                return isFirst ? chunk.flatMap(change) : chunk
            }
        }
    }
}

extension ByteBuffer {
    fileprivate var withFirstByteChanged: ByteBuffer? {
        guard let first = getInteger(at: readerIndex, as: UInt8.self) else { return nil }
        var copy = self
        copy.setInteger(first ^ 1, at: readerIndex)
        return copy
    }
}
