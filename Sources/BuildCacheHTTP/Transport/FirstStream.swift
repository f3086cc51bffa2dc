package import BuildCacheBytes
import Synchronization

/// The stream that was opened to see whether it can be, before a connection is: for the first who asks.
package final class FirstStream: Sendable {
    private let stream: Mutex<BlobStream?>

    package init(_ stream: BlobStream) { self.stream = Mutex(stream) }

    package func take() -> BlobStream? {
        stream.withLock { stream in
            defer { stream = nil }
            return stream
        }
    }
}
