import BuildCacheCore
public import NIOCore

/// The chunks of one blob: pulled by the reader, usually 256 KiB to 4 MiB each, single pass.
///
/// Reading is what moves the bytes: a reader that stops holds nothing up but this stream.
public struct BlobStream: AsyncSequence, Sendable {
    /// A chunk is a buffer of bytes.
    public typealias Element = ByteBuffer

    /// Bytes to come, `nil` where nobody knows yet, as for a tar that is being written.
    public let length: Int64?
    /// What the bytes are checked against on their way, `nil` if nobody does: who reads to the end need not do it again.
    package var verified: StreamDigest.Value?
    private let makePull: @Sendable () -> () async throws -> ByteBuffer?

    /// Streams `chunks`, which promise to hold `length` bytes together.
    public init<Chunks: AsyncSequence & Sendable>(_ chunks: Chunks, length: Int64?) where Chunks.Element == ByteBuffer {
        self.length = length
        makePull = {
            var iterator = chunks.makeAsyncIterator()
            return { try await iterator.next(isolation: #isolation) }
        }
    }

    /// Streams what `pull` returns until it returns `nil`; `makePull` is called once by each reader.
    public init(length: Int64?, makePull: @escaping @Sendable () -> () async throws -> ByteBuffer?) {
        self.length = length
        self.makePull = makePull
    }

    /// Streams bytes in memory, or the part of them that `range` names.
    public init(_ bytes: [UInt8], range: Range<Int64>? = nil) {
        let all = 0..<Int64(bytes.count)
        let part = (range ?? all).clamped(to: all)
        self.init(ByteBuffer(bytes: bytes[Int(part.lowerBound)..<Int(part.upperBound)]))
    }

    /// Streams one buffer.
    public init(_ buffer: ByteBuffer) {
        self.init(length: Int64(buffer.readableBytes)) {
            var rest: ByteBuffer? = buffer.readableBytes > 0 ? buffer : nil
            return {
                defer { rest = nil }
                return rest
            }
        }
    }

    /// The same bytes; an error while reading becomes what `transform` makes of it.
    package func mappingErrors(_ transform: @escaping @Sendable (any Error) -> any Error) -> BlobStream {
        let stream = self
        var mapped = BlobStream(length: length) {
            var chunks = stream.makeAsyncIterator()
            return { do { return try await chunks.next() } catch { throw transform(error) } }
        }
        mapped.verified = verified
        return mapped
    }

    /// The same bytes; `body` is called before an error with the code `.corrupted` is thrown.
    package func noticingDamage(_ body: @escaping @Sendable () async -> Void) -> BlobStream {
        let stream = self
        var watched = BlobStream(length: length) {
            var chunks = stream.makeAsyncIterator()
            return {
                do { return try await chunks.next() } catch let error as CacheError where error.code == .corrupted {
                    await body()
                    throw error
                }
            }
        }
        watched.verified = verified
        return watched
    }

    /// Reads the stream front to back.
    public struct AsyncIterator: AsyncIteratorProtocol {
        fileprivate let pull: () async throws -> ByteBuffer?
        /// The next chunk, or `nil` at the end.
        public mutating func next() async throws -> ByteBuffer? { try await pull() }
    }

    /// Starts reading.
    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(pull: makePull()) }
}
