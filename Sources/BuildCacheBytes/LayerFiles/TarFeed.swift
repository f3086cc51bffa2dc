import BuildCacheCore
import NIOCore

/// Takes a tar apart as its bytes come, in chunks of any size.
struct TarFeed {
    enum Event {
        /// The headers of an entry; its data follow if it has any.
        case entry(TarEntry)
        /// Data of the entry, where they stand in its file.
        case data(ByteBuffer, offset: Int64)
        /// The data of the entry are complete. Comes for every file, an empty one too.
        case endOfFile
    }

    private enum Position {
        case header
        case `extension`(Int)
        case sparseMap(SparseMap.DataReader, TarEntry, rest: Int64)
        case data(rest: Int64)
        case padding(Int)
        case end
    }

    private var headers = TarHeaders()
    private var position = Position.header
    // The beginning of something that goes on in the next chunk.
    private var part = ByteBuffer()
    // The file whose data come, and how far they have come.
    private var file: TarEntry?
    private var pieces: [SparseMap.Piece] = []
    private var piece = 0
    private var offset: Int64 = 0
    private var pieceRest: Int64 = 0

    /// The next event; `nil` if it takes another chunk.
    ///
    /// - Throws: `CacheError` as ``TarHeaders``; `.corrupted` for a map of a sparse file that does not fit its data.
    mutating func next(_ chunk: inout ByteBuffer) throws(CacheError) -> Event? {
        while true {
            switch position {
            case .end:
                chunk.moveReaderIndex(to: chunk.writerIndex)
                return nil
            case .header:
                guard let block = take(TarBlock.size, from: &chunk) else { return nil }
                let step = try headers.take(block)
                switch step {
                case .block: continue
                case .extension(let size): position = .extension(size)
                case .end:
                    guard !headers.isInsideEntry else {
                        throw CacheError(.corrupted, "the tar ends behind the extended header of an entry")
                    }
                    position = .end
                case .entry(let entry):
                    if let event = begin(entry) { return event }
                }
            case .extension(let size):
                guard let bytes = take(size, from: &chunk) else { return nil }
                try headers.takeExtension(bytes)
                position = .header
            case .sparseMap(var reader, var entry, let rest):
                guard rest > 0 else { throw SparseMap.malformed }
                // The last block of the data may be cut.
                let size = Int(min(rest, Int64(TarBlock.size)))
                guard let block = take(size, from: &chunk) else { return nil }
                guard let map = try reader.take(block) else {
                    position = .sparseMap(reader, entry, rest: rest - Int64(size))
                    continue
                }
                entry.sparse = .map(map)
                let stored = entry.size
                beginData(entry, stored: rest - Int64(size))
                file?.size = stored
                return .entry(entry)
            case .data(let rest):
                guard rest > 0 else {
                    position = .padding(TarBlock.padding(behind: file?.size ?? 0))
                    return .endOfFile
                }
                guard let data = takeData(rest, from: &chunk) else { return nil }
                return data
            case .padding(let rest):
                let count = min(rest, chunk.readableBytes)
                chunk.moveReaderIndex(forwardBy: count)
                guard count == rest else {
                    position = .padding(rest - count)
                    return nil
                }
                position = .header
            }
        }
    }

    /// Checks that the tar may end here.
    ///
    /// - Throws: `CacheError` `.corrupted` if it breaks off.
    func finish() throws(CacheError) {
        switch position {
        case .end: return
        case .header where part.readableBytes == 0 && !headers.isInsideEntry: return
        default: throw CacheError(.corrupted, "the tar ends inside an entry")
        }
    }

    private mutating func begin(_ entry: TarEntry) -> Event? {
        guard entry.kind == .file else { return .entry(entry) }
        if case .inData(let size) = entry.sparse {
            position = .sparseMap(
                SparseMap.DataReader(size: size, stored: entry.size), entry, rest: entry.size)
            return nil
        }
        beginData(entry, stored: entry.size)
        return .entry(entry)
    }

    private mutating func beginData(_ entry: TarEntry, stored: Int64) {
        file = entry
        offset = 0
        piece = 0
        pieces = []
        pieceRest = stored
        if case .map(let map) = entry.sparse {
            pieces = map.pieces
            pieceRest = pieces.first?.length ?? 0
            offset = pieces.first?.offset ?? 0
        }
        position = .data(rest: stored)
    }

    private mutating func takeData(_ rest: Int64, from chunk: inout ByteBuffer) -> Event? {
        while pieceRest == 0, piece + 1 < pieces.count {
            piece += 1
            pieceRest = pieces[piece].length
            offset = pieces[piece].offset
        }
        let count = Int(min(rest, pieceRest, Int64(chunk.readableBytes)))
        guard count > 0, let data = chunk.readSlice(length: count) else { return nil }
        position = .data(rest: rest - Int64(count))
        pieceRest -= Int64(count)
        defer { offset += Int64(count) }
        return .data(data, offset: offset)
    }

    /// The next bytes once all of them have come.
    @inline(__always)
    private mutating func take(_ size: Int, from chunk: inout ByteBuffer) -> ByteBuffer? {
        if part.readableBytes == 0, let whole = chunk.readSlice(length: size) { return whole }
        return gather(size, from: &chunk)
    }

    private mutating func gather(_ size: Int, from chunk: inout ByteBuffer) -> ByteBuffer? {
        if var more = chunk.readSlice(length: min(size - part.readableBytes, chunk.readableBytes)) {
            part.writeBuffer(&more)
        }
        guard part.readableBytes == size else { return nil }
        defer { part = ByteBuffer() }
        return part
    }
}
