import BuildCacheCore
import NIOCore

/// Transforms values on ``Workers/processors``, up to `limit` of them at a time, and delivers the results in order.
///
/// At most `limit` values are held between `next` and `deliver`. The first error, or cancellation, stops taking values;
/// what is being transformed then is waited for and thrown away.
func transformInOrder<Input: Sendable, Output: Sendable>(
    limit: Int,
    next: () async throws -> Input?,
    transform: @escaping @Sendable (Input) throws(CacheError) -> Output,
    deliver: (Output) async throws -> Void
) async throws {
    try await withThrowingTaskGroup(of: (Int, Output).self) { group in
        var taken = 0
        var delivered = 0
        var isAtEnd = false
        var finished: [Int: Output] = [:]
        while true {
            while !isAtEnd, taken - delivered < limit {
                try Task.checkCancellation()
                guard let value = try await next() else {
                    isAtEnd = true
                    break
                }
                let index = taken
                group.addTask {
                    try Task.checkCancellation()
                    return (index, try await Workers.processors.run { () throws(CacheError) in try transform(value) })
                }
                taken += 1
            }
            guard let (index, output) = try await group.next() else { return }
            finished[index] = output
            while let output = finished.removeValue(forKey: delivered) {
                try await deliver(output)
                delivered += 1
            }
        }
    }
}

extension BlobStream {
    /// The same bytes in chunks of at most `size` bytes.
    func inPieces(upTo size: Int) -> BlobStream {
        BlobStream(length: length) {
            var pieces = PieceReader(self)
            return { try await pieces.some(upTo: size) }
        }
    }
}

/// Cuts a stream into pieces of one size, whatever the chunks it comes in.
struct PieceReader {
    private var chunks: BlobStream.AsyncIterator
    private var rest = ByteBuffer()

    init(_ stream: BlobStream) { chunks = stream.makeAsyncIterator() }

    /// The next `size` bytes, fewer only at the end of the stream, `nil` behind it.
    mutating func next(_ size: Int) async throws -> ByteBuffer? {
        var piece = take(size)
        while piece.readableBytes < size, let chunk = try await chunks.next() {
            rest = chunk
            var more = take(size - piece.readableBytes)
            if piece.readableBytes == 0 {
                // The usual case: the chunk has the size of a piece and is taken as it is.
                piece = more
            } else {
                piece.reserveCapacity(size)
                piece.writeBuffer(&more)
            }
        }
        return piece.readableBytes > 0 ? piece : nil
    }

    /// The next bytes, as many as are at hand but at least one and at most `limit`; `nil` at the end of the stream.
    mutating func some(upTo limit: Int) async throws -> ByteBuffer? {
        while rest.readableBytes == 0 {
            guard let chunk = try await chunks.next() else { return nil }
            rest = chunk
        }
        return take(limit)
    }

    /// Passes over the next `count` bytes, or as many as there are.
    mutating func skip(_ count: Int) async throws {
        var left = count
        while left > 0, let piece = try await some(upTo: left) { left -= piece.readableBytes }
    }

    private mutating func take(_ size: Int) -> ByteBuffer {
        rest.readSlice(length: min(size, rest.readableBytes)) ?? ByteBuffer()
    }
}
