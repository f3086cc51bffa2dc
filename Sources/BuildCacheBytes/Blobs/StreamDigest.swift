public import BuildCacheCore
package import NIOCore
import Synchronization

/// Counts and hashes bytes as they pass.
///
/// Chunks are hashed in the order in which ``update(_:)`` is awaited; one stream, one digest.
package final class StreamDigest: Sendable {
    /// What has passed.
    package struct Value: Hashable, Sendable {
        package var digest: Digest
        package var size: Int64

        package init(digest: Digest, size: Int64) {
            self.digest = digest
            self.size = size
        }
    }

    private struct State {
        let hasher = SHA256()
        var size: Int64 = 0
        /// Of the bytes that these were made of, since they are others.
        var source: (hasher: SHA256, size: Int64)?
    }

    // A hop to another thread costs about as much as hashing this many bytes.
    private static let smallChunk = 32 << 10

    private let state = Mutex(State())

    package init() {}

    /// How many bytes have passed.
    package var size: Int64 { state.withLock { $0.size } }

    /// Takes the next bytes of the stream.
    package func update(_ chunk: ByteBuffer) async {
        if chunk.readableBytes <= StreamDigest.smallChunk { return updateNow(chunk) }
        await Workers.processors.run { self.updateNow(chunk) }
    }

    /// Takes the next bytes of the stream on the calling thread.
    package func updateNow(_ chunk: ByteBuffer) {
        state.withLock { state in
            chunk.withUnsafeReadableBytes { state.hasher.update($0) }
            state.size += Int64(chunk.readableBytes)
        }
    }

    /// Takes the next bytes of the stream, which were made of others.
    ///
    /// - Parameter source: The others; `nil` for the same bytes.
    func updateNow(_ chunk: ByteBuffer, source: ByteBuffer?) {
        state.withLock { state in
            if source != nil, state.source == nil { state.source = (state.hasher.copy(), state.size) }
            if let original = state.source {
                let bytes = source ?? chunk
                bytes.withUnsafeReadableBytes { original.hasher.update($0) }
                state.source?.size += Int64(bytes.readableBytes)
            }
            chunk.withUnsafeReadableBytes { state.hasher.update($0) }
            state.size += Int64(chunk.readableBytes)
        }
    }

    /// The digest and number of the bytes that all so far were made of.
    var sourceValue: Value {
        state.withLock { state in
            let (hasher, size) = state.source ?? (state.hasher, state.size)
            return Value(digest: hasher.digest(), size: size)
        }
    }

    /// The digest and number of all bytes so far; more may follow.
    package var value: Value {
        state.withLock { state in Value(digest: state.hasher.digest(), size: state.size) }
    }

    /// The digest and number of all bytes since the beginning, or since this was last called.
    package func finish() -> Value {
        state.withLock { state in
            defer { state.size = 0 }
            return Value(digest: state.hasher.finalize(), size: state.size)
        }
    }
}

extension Digest {
    /// The digest of all bytes of a stream, which is read to its end; memory does not grow with its length.
    ///
    /// - Throws: Errors of the stream; `CancellationError`.
    public init(of stream: BlobStream) async throws {
        let passed = StreamDigest()
        for try await chunk in stream {
            try Task.checkCancellation()
            await passed.update(chunk)
        }
        self = passed.finish().digest
    }
}
