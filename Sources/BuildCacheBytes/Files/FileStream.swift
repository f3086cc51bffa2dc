public import BuildCacheCore
package import NIOCore
import Synchronization

extension BlobStream {
    /// The file at `path`, or the bytes `range` of it, in chunks of 1 MiB, one chunk ahead of the reader.
    ///
    /// The file is opened here and stays open as long as the stream or a reader of it lives, so a file that is replaced meanwhile is
    /// still read as it was. Reading blocks no task.
    ///
    /// - Throws: `CacheError` `.notFound`, `.denied`, `.unavailable`; `.corrupted` if `range` leaves the file, and
    ///   while reading if the file was cut off.
    public static func file(at path: String, range: Range<Int64>? = nil) async throws -> BlobStream {
        try await file(at: path, range: range, version: nil)
    }

    /// - Parameter version: The version that the file must have; `nil` for any.
    static func file(
        at path: String, range: Range<Int64>? = nil, version: OpenFile.Version?
    ) async throws -> BlobStream {
        let file = try await Workers.files.run { () throws(CacheError) in try OpenFile(reading: path) }
        if let version, file.version != version {
            throw CacheError(
                .corrupted,
                "\(path) changed after it was noted as the layer of a step; keep one file for each step until it was exported"
            )
        }
        let range = range ?? 0..<file.size
        guard range.lowerBound >= 0, range.upperBound <= file.size else {
            throw CacheError(
                .corrupted,
                "\(path) has \(file.size) bytes: there are no bytes \(range.lowerBound)..<\(range.upperBound)")
        }
        return BlobStream(blocking: range) { part throws(CacheError) in try file.read(part) }
    }

    /// Streams `range` of something that blocks while it is read, in chunks of 1 MiB.
    ///
    /// - Parameter read: Gives the bytes of a part. Runs on ``Workers/files``, one chunk ahead of the reader.
    package init(
        blocking range: Range<Int64>, read: @escaping @Sendable (Range<Int64>) throws(CacheError) -> ByteBuffer
    ) {
        self.init(length: Int64(range.count)) {
            let reader = ReadAhead(range, read)
            return { try await reader.next() }
        }
    }
}

/// Blobs that lie in one directory, each named by the 64 hexadecimal digits of its digest.
///
/// What is read here is not verified; whoever stores or converts a blob does that.
public struct FileBlobSource: BlobSource {
    /// As in `/var/cache/layout/blobs/sha256`.
    public var directory: String

    /// The blobs in `directory`; nothing is opened yet.
    public init(directory: String) { self.directory = directory }

    /// Opens a blob, as ``BlobSource/open(_:range:)``.
    public func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        try await BlobStream.file(at: path(of: descriptor.digest), range: range)
    }

    /// Where the blob with this digest lies.
    package func path(of digest: Digest) -> String { "\(directory)/\(digest.hex)" }
}

/// Reads one range front to back and keeps one chunk in hand.
private final class ReadAhead: Sendable {
    private static let chunkSize: Int64 = 1 << 20

    private enum Chunk {
        case none, underWay
        case awaited(CheckedContinuation<Result<ByteBuffer, CacheError>, Never>)
        case ready(Result<ByteBuffer, CacheError>)
    }
    private struct State {
        var offset: Int64
        var chunk = Chunk.none
    }

    private let read: @Sendable (Range<Int64>) throws(CacheError) -> ByteBuffer
    private let end: Int64
    private let state: Mutex<State>

    init(_ range: Range<Int64>, _ read: @escaping @Sendable (Range<Int64>) throws(CacheError) -> ByteBuffer) {
        self.read = read
        end = range.upperBound
        state = Mutex(State(offset: range.lowerBound))
    }

    func next() async throws -> ByteBuffer? {
        try Task.checkCancellation()
        guard start() else { return nil }
        let result = await withCheckedContinuation { continuation in
            let ready = state.withLock { state -> Result<ByteBuffer, CacheError>? in
                guard case .ready(let result) = state.chunk else {
                    state.chunk = .awaited(continuation)
                    return nil
                }
                state.chunk = .none
                return result
            }
            if let ready { continuation.resume(returning: ready) }
        }
        let chunk = try result.get()
        start()
        return chunk
    }

    /// Begins to read the next chunk unless that was begun before; `false` at the end of the range.
    @discardableResult
    private func start() -> Bool {
        let range = state.withLock { state -> Range<Int64>? in
            guard case .none = state.chunk, state.offset < end else { return nil }
            let range = state.offset..<min(end, state.offset + ReadAhead.chunkSize)
            state.offset = range.upperBound
            state.chunk = .underWay
            return range
        }
        if let range {
            Workers.files.submit { [self] in finish(Result { () throws(CacheError) in try read(range) }) }
            return true
        }
        return state.withLock { state in if case .none = state.chunk { false } else { true } }
    }

    private func finish(_ result: Result<ByteBuffer, CacheError>) {
        let continuation = state.withLock { state -> CheckedContinuation<Result<ByteBuffer, CacheError>, Never>? in
            guard case .awaited(let continuation) = state.chunk else {
                state.chunk = .ready(result)
                return nil
            }
            state.chunk = .none
            return continuation
        }
        continuation?.resume(returning: result)
    }
}
