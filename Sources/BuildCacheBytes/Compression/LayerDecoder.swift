package import BuildCacheCore
import NIOCore
import Synchronization

/// Turns the stored bytes of a layer into its tar, as a stream and with little memory, whatever the bytes are.
///
/// The content of a layer tells its compression, because writers confuse the media types of layers. A layer whose media type
/// says uncompressed is decompressed only if it is not a tar and is gzip or zstd.
///
/// - Source: `Documentation/Spec/compression.md` §3.
package struct LayerDecoder: Sendable {
    private let limits: DecodingLimits

    /// Makes a decoder for a layer of `size` stored bytes.
    package init(_ limit: DecompressionLimit, stored size: Int64) {
        limits = DecodingLimits(
            bytes: limit.maximum(stored: size), zstdWindowLog: limit.zstdWindowLog,
            zstdMemory: limit.zstdMemory(stored: size))
    }

    /// The uncompressed bytes of a stored layer, in chunks of up to 8 MiB.
    ///
    /// While reading it throws `CacheError` `.corrupted` if the bytes are damaged or cut off, `.limitExceeded` past the limit.
    ///
    /// - Throws: `.unsupported` if `mediaType` is not a known type of layers.
    package func decode(_ stored: BlobStream, mediaType: MediaType) throws(CacheError) -> BlobStream {
        guard let layer = mediaType.layer else {
            throw CacheError(
                .unsupported, "cannot decompress a blob of type \(mediaType.text.quoted): expected a type of layers")
        }
        return decode(stored, .unknown(isLabelledTar: layer.compression == .uncompressed))
    }

    /// The tar inside an eStargz layer: what comes before its table of contents.
    ///
    /// - Parameters:
    ///   - offset: Where in the stored bytes the table of contents begins.
    ///   - whole: Gets all uncompressed bytes, those of the table of contents too, and with them the layer's diffID.
    func decode(_ stored: BlobStream, upToTOC offset: Int64, whole: StreamDigest) -> BlobStream {
        decode(stored, .estargz(toc: offset), whole)
    }

    private func decode(_ stored: BlobStream, _ kind: Decoding.Kind, _ whole: StreamDigest? = nil) -> BlobStream {
        BlobStream(length: nil) {
            let decoding = Decoding(stored, kind, limits, whole)
            return { try await decoding.next() }
        }
    }
}

/// The limits of one layer.
private struct DecodingLimits: Sendable {
    /// Uncompressed bytes of the layer.
    var bytes: Int64
    var zstdWindowLog: Int32
    var zstdMemory: Int64
}

/// One reading of one layer.
private final class Decoding {
    /// The knowledge of the bytes before the first of them is read.
    enum Kind: Sendable {
        case unknown(isLabelledTar: Bool)
        case estargz(toc: Int64)
    }
    private enum State {
        case new(Kind)
        case passing
        case gunzipping(ParallelGunzip)
        case decompressing(Decompressing)
    }

    // Buffers join two chunks here and there, and a source may give chunks of any size.
    private static let maximumChunkSize = 4 << 20

    private var stored: BlobStream.AsyncIterator
    private var state: State
    private let limits: DecodingLimits
    private var rest: Int64
    private let whole: StreamDigest?
    // The bytes read to tell what they are, if they turned out to be a tar.
    private var head: ByteBuffer?

    init(_ stored: BlobStream, _ kind: Kind, _ limits: DecodingLimits, _ whole: StreamDigest?) {
        self.stored = stored.inPieces(upTo: Decoding.maximumChunkSize).makeAsyncIterator()
        self.limits = limits
        self.whole = whole
        state = .new(kind)
        rest = limits.bytes
    }

    func next() async throws -> ByteBuffer? {
        while true {
            switch state {
            case .new(.unknown(let isLabelledTar)): state = try await sniff(isLabelledTar)
            case .new(.estargz(let toc)): state = .gunzipping(ParallelGunzip(stop: toc))
            case .passing:
                let chunk = if let head { head } else { try await stored.next() }
                head = nil
                if let chunk { try count(chunk) }
                return chunk
            case .decompressing(let pump):
                guard let (chunk, _) = try await pump.next(from: &stored) else { return nil }
                try count(chunk)
                return chunk
            case .gunzipping(let pump):
                guard let (chunk, isPastStop) = try await pump.next(from: &stored) else { return nil }
                try count(chunk)
                await whole?.update(chunk)
                if !isPastStop, chunk.readableBytes > 0 { return chunk }
            }
        }
    }

    private func count(_ chunk: ByteBuffer) throws(CacheError) {
        rest -= Int64(chunk.readableBytes)
        guard rest >= 0 else {
            throw CacheError(
                .limitExceeded,
                "the layer has more than \(limits.bytes) bytes uncompressed; raise the DecompressionLimit to read it")
        }
    }

    /// Reads as much as it takes to tell how the bytes are compressed.
    private func sniff(_ isLabelledTar: Bool) async throws -> State {
        var head = ByteBuffer()
        while head.readableBytes < TarBlock.size, var chunk = try await stored.next() {
            if head.readableBytes == 0 { head = chunk } else { head.writeBuffer(&chunk) }
        }
        switch SniffedFormat(head, isLabelledTar: isLabelledTar) {
        case .gzip: return .gunzipping(ParallelGunzip(head))
        case .zstd:
            let decompressor = try ZstdDecompressor(
                maximumWindowLog: limits.zstdWindowLog, maximumMemory: limits.zstdMemory)
            return .decompressing(Decompressing(decompressor, head))
        case .tar:
            self.head = head
            return .passing
        case nil: throw CacheError(.corrupted, "the layer is neither gzip nor zstd nor a tar")
        }
    }
}

/// What the first bytes of a layer tell.
enum SniffedFormat {
    case gzip, zstd, tar

    /// The format of a layer that begins with `head`, at least one tar block of it unless the layer is shorter.
    ///
    /// - Parameter isLabelledTar: Whether its media type says uncompressed. Then it is a tar if it may be one at all, as for BuildKit, and
    ///   if it is not gzip or zstd either: its type is all that is known of it.
    init?(_ head: ByteBuffer, isLabelledTar: Bool) {
        let start = head.readerIndex
        if isLabelledTar, TarBlock.isHeaderOrZero(head) {
            self = .tar
        } else if head.readableBytesView.starts(with: [0x1F, 0x8B, 0x08]) {
            self = .gzip
        } else if let magic = head.getInteger(at: start, endianness: .little, as: UInt32.self),
            magic == 0xFD2F_B528 || magic & 0xFFFF_FFF0 == 0x184D_2A50
        {
            // The second kind is a skippable frame, with which a zstd file may begin.
            self = .zstd
        } else if isLabelledTar || head.readableBytes == 0 || TarBlock.isHeaderOrZero(head) {
            self = .tar
        } else {
            return nil
        }
    }
}

/// Feeds a decompressor and empties it, one chunk of output at a time, on ``Workers/processors``.
final class Decompressing: Sendable {
    private static let chunkSize = 1 << 20

    private struct State {
        let decompressor: any Decompressor
        var input: ByteBuffer
        var output = ByteBufferAllocator().buffer(capacity: Decompressing.chunkSize)
        var isAtEnd = false
    }
    private enum Step: Sendable {
        case output(ByteBuffer, isPastStop: Bool)
        case needsInput
    }

    private let state: Mutex<State>

    init(_ decompressor: sending any Decompressor, _ input: ByteBuffer = ByteBuffer()) {
        state = Mutex(State(decompressor: decompressor, input: input))
    }

    func next(from stored: inout BlobStream.AsyncIterator) async throws -> (chunk: ByteBuffer, isPastStop: Bool)? {
        while true {
            try Task.checkCancellation()
            let step = try await Workers.processors.run { () throws(CacheError) in
                try self.state.withLock { state throws(CacheError) in try Decompressing.step(&state) }
            }
            if case .output(let chunk, let isPastStop) = step { return (chunk, isPastStop) }
            guard let chunk = try await stored.next() else { return try end() }
            state.withLock { $0.input = chunk }
        }
    }

    private static func step(_ state: inout State) throws(CacheError) -> Step {
        let wasPastStop = state.decompressor.isPastStop
        try state.decompressor.decompress(&state.input, into: &state.output)
        // What was decompressed before the stop goes out by itself, so that no chunk is on both sides of it.
        let reachedStop = state.decompressor.isPastStop != wasPastStop
        guard state.output.writableBytes == 0 || reachedStop else { return .needsInput }
        return .output(takeOutput(&state), isPastStop: wasPastStop)
    }

    private func end() throws(CacheError) -> (ByteBuffer, Bool)? {
        try state.withLock { state throws(CacheError) in
            guard !state.isAtEnd else { return nil }
            state.isAtEnd = true
            try state.decompressor.finish()
            return state.output.readableBytes > 0
                ? (Decompressing.takeOutput(&state), state.decompressor.isPastStop) : nil
        }
    }

    private static func takeOutput(_ state: inout State) -> ByteBuffer {
        defer { state.output = ByteBufferAllocator().buffer(capacity: chunkSize) }
        return state.output
    }
}
