package import NIOCore

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
package struct PieceReader {
    /// A size is a claim as long as the bytes are not there.
    private static let largestReserve = 8 << 20

    private var chunks: BlobStream.AsyncIterator
    private var rest = ByteBuffer()

    package init(_ stream: BlobStream) { chunks = stream.makeAsyncIterator() }

    /// The next `size` bytes, fewer only at the end of the stream, `nil` behind it.
    package mutating func next(_ size: Int) async throws -> ByteBuffer? {
        var piece = take(size)
        while piece.readableBytes < size, let chunk = try await chunks.next() {
            rest = chunk
            var more = take(size - piece.readableBytes)
            if piece.readableBytes == 0 {
                // The usual case: the chunk has the size of a piece and is taken as it is.
                piece = more
            } else {
                piece.reserveCapacity(min(size, PieceReader.largestReserve))
                piece.writeBuffer(&more)
            }
        }
        return piece.readableBytes > 0 ? piece : nil
    }

    /// The next bytes, as many as are at hand but at least one and at most `limit`; `nil` at the end of the stream.
    package mutating func some(upTo limit: Int) async throws -> ByteBuffer? {
        while rest.readableBytes == 0 {
            guard let chunk = try await chunks.next() else { return nil }
            rest = chunk
        }
        return take(limit)
    }

    /// Passes over the next `count` bytes, or as many as there are.
    package mutating func skip(_ count: Int) async throws {
        var left = count
        while left > 0, let piece = try await some(upTo: left) { left -= piece.readableBytes }
    }

    private mutating func take(_ size: Int) -> ByteBuffer {
        rest.readSlice(length: min(size, rest.readableBytes)) ?? ByteBuffer()
    }
}
