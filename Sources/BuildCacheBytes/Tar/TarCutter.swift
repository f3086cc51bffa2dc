import BuildCacheCore
import NIOCore

/// Reads a tar and cuts it where gzip members begin.
struct TarCutter {
    private static let batchSize = 1 << 20
    private static let maximumHeaderSize = 1 << 20
    // Holes cost nothing in a tar: without a bound a few bytes would become any number.
    private static let maximumExpansion = DecompressionLimit().maximumBytes

    private enum Position {
        case headers
        case data(of: TarEntry, offset: Int64)
        // Behind the blocks that end a tar; all is preserved, whatever it is.
        case remainder
        case end
    }

    private var pieces: PieceReader
    private var headers = TarHeaders()
    private var position = Position.headers
    // Headers of an entry that is not complete.
    private var pending = ByteBuffer()
    private var sparse: SparseCursor?
    private var expansion: Int64 = 0
    private var isAtEnd: Bool { if case .end = position { true } else { false } }

    init(_ tar: BlobStream) { pieces = PieceReader(tar) }

    /// The next 1 to 6 MiB of the tar, less only at its end, or `nil` behind that.
    mutating func next() async throws -> TarBatch? {
        var batch = TarBatch()
        while !isAtEnd, batch.bytes.readableBytes < TarCutter.batchSize {
            let start = batch.bytes.readableBytes
            var member = TarBatch.Member()
            if case .data(let file, let offset) = position {
                member.chunk = try await readChunk(of: file, at: offset, to: &batch)
            }
            let end = batch.bytes.readableBytes
            while batch.bytes.readableBytes - end < TarCutter.maximumHeaderSize {
                if case .headers = position {
                    guard let entry = try await readHeaders(to: &batch) else { continue }
                    if entry.size > 0 { position = .data(of: entry, offset: 0) } else { member.entries.append(entry) }
                } else if case .remainder = position {
                    if try await !copy(1 << 20, to: &batch, mayEnd: true) { position = .end }
                } else {
                    break
                }
            }
            member.size = batch.bytes.readableBytes - start
            if member.size > 0 { batch.members.append(member) }
        }
        return batch.members.isEmpty ? nil : batch
    }

    private mutating func readChunk(
        of file: TarEntry, at offset: Int64, to batch: inout TarBatch
    ) async throws -> TarBatch.Chunk {
        let chunk = TarBatch.Chunk(file: file, offset: offset, size: min(EStargz.chunkSize, file.size - offset))
        batch.bytes.reserveCapacity(minimumWritableBytes: Int(chunk.size) + 2 * TarBlock.size)
        if sparse != nil {
            try await expand(offset..<offset + chunk.size, to: &batch)
        } else {
            try await copy(Int(chunk.size), to: &batch)
        }
        if chunk.isLast {
            if let cursor = sparse {
                let padding = try await read(TarBlock.padding(behind: cursor.stored))
                batch.takeSource(padding)
                batch.bytes.writeRepeatingByte(0, count: TarBlock.padding(behind: file.size))
                sparse = nil
            } else {
                try await copy(TarBlock.padding(behind: file.size), to: &batch)
            }
            position = .headers
        } else {
            position = .data(of: file, offset: offset + chunk.size)
        }
        return chunk
    }

    /// Reads one more header; returns the entry if it was its last.
    private mutating func readHeaders(to batch: inout TarBatch) async throws -> TarEntry? {
        guard let block = try await pieces.next(TarBlock.size) else {
            // Some writers leave the blocks out that end a tar.
            guard !headers.isInsideEntry else { throw TarCutter.cutOff }
            batch.take(pending)
            pending = ByteBuffer()
            position = .end
            return nil
        }
        guard block.readableBytes == TarBlock.size else { throw TarCutter.cutOff }
        pending.writeImmutableBuffer(block)
        switch try headers.take(block) {
        case .block: return nil
        case .end:
            batch.take(pending)
            pending = ByteBuffer()
            position = .remainder
            return nil
        case .extension(let size):
            let bytes = try await read(size)
            pending.writeImmutableBuffer(bytes)
            try headers.takeExtension(bytes)
            // Headers that are replaced by others without end are passed on; a sparse file behind them is not expanded.
            if pending.readableBytes > 4 * TarCutter.maximumHeaderSize {
                batch.take(pending)
                pending = ByteBuffer()
            }
            return nil
        case .entry(let entry):
            guard !EStargz.isTOC(entry.name) else {
                throw CacheError(
                    .unsupported, "the layer holds a file \(EStargz.tocName), the name of eStargz's table of contents")
            }
            guard entry.sparse == nil else { return try await beginSparse(entry, to: &batch) }
            batch.take(pending)
            pending = ByteBuffer()
            return entry
        }
    }

    // MARK: Sparse files

    /// Replaces the headers of a sparse file by those of a file with its zeros.
    private mutating func beginSparse(_ entry: TarEntry, to batch: inout TarBatch) async throws -> TarEntry {
        batch.takeSource(pending)
        pending = ByteBuffer()
        let map: SparseMap
        switch entry.sparse {
        case .map(let known): map = known
        case .inData(let size):
            map = try await readMap(SparseMap.DataReader(size: size, stored: entry.size), entry, to: &batch)
        case nil: return entry
        }
        expansion = expansion.addingClamped(map.size)
        guard expansion <= TarCutter.maximumExpansion else {
            throw CacheError(
                .limitExceeded,
                "the sparse files of the layer have \(expansion) bytes: expected at most \(TarCutter.maximumExpansion)")
        }
        var file = entry
        file.size = map.size
        file.sparse = nil
        TarWriter.write(TarFields(file), to: &batch.bytes)
        sparse = map.size > 0 ? SparseCursor(map: map, stored: entry.size) : nil
        return file
    }

    private mutating func readMap(
        _ reader: SparseMap.DataReader, _ entry: TarEntry, to batch: inout TarBatch
    ) async throws -> SparseMap {
        var reader = reader
        var rest = entry.size
        while rest > 0 {
            let block = try await read(Int(min(rest, Int64(TarBlock.size))))
            batch.takeSource(block)
            rest -= Int64(block.readableBytes)
            if let map = try reader.take(block) { return map }
        }
        throw SparseMap.malformed
    }

    /// Appends bytes of a file with its zeros.
    private mutating func expand(_ range: Range<Int64>, to batch: inout TarBatch) async throws {
        guard var cursor = sparse else { return }
        var offset = range.lowerBound
        while offset < range.upperBound {
            let run = cursor.run(at: offset, upTo: range.upperBound)
            if run.isData {
                let data = try await read(run.count)
                batch.takeSource(data)
                batch.bytes.writeImmutableBuffer(data)
            } else {
                batch.bytes.writeRepeatingByte(0, count: run.count)
            }
            offset += Int64(run.count)
        }
        sparse = cursor
    }

    // MARK: Bytes

    /// Copies bytes of the tar; `false` if it ended before all of them, which is an error unless it `mayEnd`.
    @discardableResult
    private mutating func copy(_ count: Int, to batch: inout TarBatch, mayEnd: Bool = false) async throws -> Bool {
        var rest = count
        while rest > 0 {
            guard let piece = try await pieces.some(upTo: rest) else {
                guard mayEnd else { throw TarCutter.cutOff }
                return false
            }
            rest -= piece.readableBytes
            batch.take(piece)
        }
        return true
    }

    /// Reads bytes of the tar.
    private mutating func read(_ count: Int) async throws -> ByteBuffer {
        guard count > 0 else { return ByteBuffer() }
        guard let bytes = try await pieces.next(count), bytes.readableBytes == count else { throw TarCutter.cutOff }
        return bytes
    }

    private static let cutOff = CacheError(.corrupted, "the tar ends inside an entry")
}

extension TarBatch {
    /// Appends bytes of the tar.
    fileprivate mutating func take(_ piece: ByteBuffer) {
        bytes.writeImmutableBuffer(piece)
        source?.writeImmutableBuffer(piece)
    }

    /// Notes bytes of the tar that others take the place of.
    fileprivate mutating func takeSource(_ piece: ByteBuffer) {
        if source == nil { source = bytes }
        source?.writeImmutableBuffer(piece)
    }
}

/// The place in a sparse file whose data come one after the other.
private struct SparseCursor {
    let map: SparseMap
    /// Bytes of data in the tar.
    let stored: Int64
    private var piece = 0

    init(map: SparseMap, stored: Int64) {
        self.map = map
        self.stored = stored
    }

    /// The bytes of one kind that stand at a place.
    mutating func run(at offset: Int64, upTo end: Int64) -> (isData: Bool, count: Int) {
        while piece < map.pieces.count, map.pieces[piece].offset + map.pieces[piece].length <= offset { piece += 1 }
        guard piece < map.pieces.count, map.pieces[piece].offset < end else { return (false, Int(end - offset)) }
        let next = map.pieces[piece]
        guard next.offset <= offset else { return (false, Int(next.offset - offset)) }
        return (true, Int(min(end, next.offset + next.length) - offset))
    }
}

extension TarFields {
    /// Of a regular file that was read, less its names of owners and the fraction of its time.
    fileprivate init(_ entry: TarEntry) {
        self.init(kind: .file, path: entry.name)
        mode = UInt32(truncatingIfNeeded: entry.mode) & 0o7777
        userID = UInt32(clamping: entry.userID)
        groupID = UInt32(clamping: entry.groupID)
        size = entry.size
        modified = entry.modifiedSeconds
        attributes = entry.attributes.sorted { $0.key.lexicographicallyPrecedes($1.key) }.map {
            EntryAttributes.Extended(name: $0.key, value: $0.value)
        }
    }
}
