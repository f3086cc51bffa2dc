public import BuildCacheCore

extension ContentTreeBuilder {
    /// Adds a layer on top of those before, from its uncompressed tar.
    ///
    /// Memory does not grow with the layer's files: their data is hashed as it passes.
    ///
    /// - Parameter tar: The chunks of the tar, of any length.
    /// - Throws: `CacheError` `.corrupted` for bytes that are not a tar, `.unsupported` for entries that no layer has,
    ///   `.limitExceeded` for headers beyond 1 MiB; the errors of `tar`, and `CancellationError`.
    public mutating func addLayer<Chunks: AsyncSequence>(
        tar: Chunks
    ) async throws where Chunks.Element: Collection<UInt8> {
        beginLayer()
        var reader = LayerTar()
        for try await chunk in tar {
            try Task.checkCancellation()
            try reader.take(chunk, into: &self)
        }
        try reader.finish()
    }

    /// Adds a layer on top of those before, from the bytes of its uncompressed tar.
    ///
    /// - Throws: `CacheError` as for a stream of chunks.
    public mutating func addLayer(tar bytes: some Collection<UInt8>) throws(CacheError) {
        beginLayer()
        var reader = LayerTar()
        try reader.take(bytes, into: &self)
        try reader.finish()
    }
}

/// Reads the tar of a layer in chunks, and puts its files into a tree.
///
/// A reader of its own and not that of BuildCacheBytes: with it a product that computes keys would carry NIO, zlib and zstd.
///
/// - Source: POSIX pax, "ustar Interchange Format" and "pax Extended Header"; GNU tar manual, "Basic Tar Format".
struct LayerTar {
    private enum State {
        case header
        case `extension`(LayerTarHeader.Extension, [UInt8], Int)
        case data(SHA256, LayerTarHeader.Entry, Int64)
        case padding(Int)
        case end
    }
    private static let block = 512
    private static let maximumExtension = 1 << 20

    private var state = State.header
    private var header: [UInt8] = []
    private var pending = LayerTarHeader.Pending()
    private var zeroBlocks = 0

    mutating func take(_ chunk: some Collection<UInt8>, into builder: inout ContentTreeBuilder) throws(CacheError) {
        let bytes = Array(chunk)
        var rest = bytes[...]
        while !rest.isEmpty { try step(&rest, &builder) }
    }

    /// Checks that the tar does not end inside of an entry.
    func finish() throws(CacheError) {
        switch state {
        case .end: return
        case .padding where pending.isEmpty: return
        case .header where header.isEmpty && pending.isEmpty: return
        default: throw CacheError(.corrupted, "the tar of a layer ends inside of an entry")
        }
    }

    private mutating func step(
        _ rest: inout ArraySlice<UInt8>, _ builder: inout ContentTreeBuilder
    ) throws(CacheError) {
        switch state {
        case .end: rest = []
        case .padding(let count):
            let taken = min(count, rest.count)
            rest = rest.dropFirst(taken)
            state = count == taken ? .header : .padding(count - taken)
        case .header:
            let taken = min(LayerTar.block - header.count, rest.count)
            header += rest.prefix(taken)
            rest = rest.dropFirst(taken)
            guard header.count == LayerTar.block else { return }
            defer { header.removeAll(keepingCapacity: true) }
            try begin(&builder)
        case .extension(let kind, var bytes, let size):
            state = .header
            let taken = min(size - bytes.count, rest.count)
            bytes += rest.prefix(taken)
            rest = rest.dropFirst(taken)
            if bytes.count < size {
                state = .extension(kind, bytes, size)
            } else {
                try pending.take(kind, bytes)
                pad(Int64(size))
            }
        case .data(let hasher, let entry, let count):
            let taken = Int(min(count, Int64(rest.count)))
            rest.prefix(taken).withUnsafeBytes { hasher.update($0) }
            rest = rest.dropFirst(taken)
            state = .data(hasher, entry, count - Int64(taken))
            if count == Int64(taken) {
                try builder.add(entry, digest: hasher.finalize())
                pad(entry.metadata.size)
            }
        }
    }

    private mutating func pad(_ size: Int64) {
        let over = Int(size % Int64(LayerTar.block))
        state = over == 0 ? .header : .padding(LayerTar.block - over)
    }

    /// Begins what the complete header block announces.
    private mutating func begin(_ builder: inout ContentTreeBuilder) throws(CacheError) {
        if header.allSatisfy({ $0 == 0 }) {
            zeroBlocks += 1
            if zeroBlocks == 2 { state = .end }
            return
        }
        guard zeroBlocks == 0 else { throw CacheError(.corrupted, "a block of zeros stands inside of a layer's tar") }
        let block = try LayerTarHeader(header)
        if let kind = block.extension {
            guard block.size <= Int64(LayerTar.maximumExtension) else {
                throw CacheError(
                    .limitExceeded,
                    "a header of the layer has \(block.size) bytes: expected at most \(LayerTar.maximumExtension)")
            }
            guard block.size > 0 else { return try pending.take(kind, []) }
            state = .extension(kind, [], Int(block.size))
            return
        }
        let entry = try block.entry(pending)
        pending = LayerTarHeader.Pending()
        guard entry.metadata.kind == .regular, entry.linkTarget == nil else {
            return try builder.add(entry, digest: entry.metadata.digest())
        }
        let hasher = SHA256()
        entry.metadata.header.withUnsafeBytes { hasher.update($0) }
        if entry.metadata.size == 0 {
            try builder.add(entry, digest: hasher.finalize())
        } else {
            state = .data(hasher, entry, entry.metadata.size)
        }
    }
}

extension ContentTreeBuilder {
    private static let whiteout = Array(".wh.".utf8)
    private static let opaque = Array(".wh..wh..opq".utf8)
    /// Files of eStargz, which do not belong to the tree.
    private static let unseen = ["/stargz.index.json", "/.prefetch.landmark", "/.no.prefetch.landmark"]
        .map { Array($0.utf8) }

    /// Adds what an entry of a layer's tar stands for.
    fileprivate mutating func add(_ entry: LayerTarHeader.Entry, digest: Digest) throws(CacheError) {
        let path = BytePath.absolute(entry.path)
        let name = BytePath.base(path)
        guard path != [BytePath.slash], !ContentTreeBuilder.unseen.contains(path) else { return }
        let parent = Array(path.dropLast(name.count))
        if name == ContentTreeBuilder.opaque { return try removeLowerLayers(below: parent) }
        if name.starts(with: ContentTreeBuilder.whiteout) {
            // The names that begin twice are of aufs, and mean nothing.
            let hidden = Array(name.dropFirst(ContentTreeBuilder.whiteout.count))
            if hidden.isEmpty || hidden.starts(with: ContentTreeBuilder.whiteout) { return }
            return try remove(parent + hidden)
        }
        if let target = entry.linkTarget { return try addHardLink(path, to: target) }
        try add(path, entry.metadata, digest: digest)
    }
}
