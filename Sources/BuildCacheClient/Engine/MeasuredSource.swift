package import BuildCacheBytes
package import BuildCacheCore
import NIOCore

/// Reports the bytes that pass through a source.
package struct MeasuredSource: BlobSource {
    private let source: any BlobSource
    private let progress: ProgressSink

    package init(_ source: any BlobSource, progress: ProgressSink) {
        self.source = source
        self.progress = progress
    }

    package func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        let stream = try await source.open(descriptor, range: range)
        let progress = progress
        progress(.started(descriptor))
        var measured = BlobStream(length: stream.length) {
            var iterator = stream.makeAsyncIterator()
            var passed: Int64 = 0
            return {
                guard let chunk = try await iterator.next() else { return nil }
                passed += Int64(chunk.readableBytes)
                progress(.advanced(descriptor.digest, bytes: passed))
                return chunk
            }
        }
        measured.verified = stream.verified
        return measured
    }
}
