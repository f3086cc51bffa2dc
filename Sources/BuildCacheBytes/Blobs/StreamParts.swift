import BuildCacheCore
import NIOCore

/// A part of a blob, in memory.
package struct StreamPart: Sendable {
    /// Counted from 0.
    package var number: Int
    /// Where it begins.
    package var offset: Int64
    package var length: Int64
    fileprivate var chunks: [ByteBuffer] = []

    /// The bytes, as often as needed.
    package var stream: BlobStream {
        let chunks = chunks
        return BlobStream(length: length) {
            var iterator = chunks.makeIterator()
            return { iterator.next() }
        }
    }
}

extension BlobStream {
    /// Cuts the stream into parts and hands each to `body`, `limit` at once.
    ///
    /// The stream is read one time and front to back, so that it can be verified while it passes; what is read and not yet taken is in
    /// memory: `limit` parts and one more at most.
    ///
    /// - Returns: How many parts there were.
    package func forEachPart(
        of size: Int64, limit: Int, _ body: @escaping @Sendable (StreamPart) async throws -> Void
    ) async throws -> Int {
        let size = Swift.max(1, size)
        return try await withThrowingTaskGroup(of: Void.self) { group in
            var pieces = PieceReader(self)
            var part = StreamPart(number: 0, offset: 0, length: 0)
            var running = 0
            func send(_ part: StreamPart) async throws {
                if running >= limit, try await group.next() != nil { running -= 1 }
                group.addTask { try await body(part) }
                running += 1
            }
            while let piece = try await pieces.some(upTo: Int(clamping: size - part.length)) {
                part.chunks.append(piece)
                part.length += Int64(piece.readableBytes)
                guard part.length == size else { continue }
                try await send(part)
                part = StreamPart(number: part.number + 1, offset: part.offset + size, length: 0)
            }
            if part.length > 0 {
                try await send(part)
                part.number += 1
            }
            try await group.waitForAll()
            return part.number
        }
    }
}
