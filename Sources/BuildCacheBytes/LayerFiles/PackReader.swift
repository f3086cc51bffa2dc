import BuildCacheCore
import NIOCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// Reads files and writes them into a tar.
struct PackReader: Sendable {
    /// Larger files are read piece by piece while they are written.
    static let smallFile: Int64 = 256 << 10

    let options: LayerPacker.Options
    let attributes: AttributeReader
    let skipped: SkippedParts

    /// A part of a tar.
    enum Piece: Sendable {
        case bytes(ByteBuffer)
        case large(LargeFile)
    }

    /// The tar of some entries.
    func pack(_ items: [PackItem]) throws(CacheError) -> [Piece] {
        var pieces: [Piece] = []
        var buffer = ByteBufferAllocator().buffer(capacity: PackReader.size(of: items))
        for item in items {
            guard let file = try pack(item, to: &buffer) else { continue }
            pieces.append(.bytes(buffer))
            pieces.append(.large(file))
            buffer = ByteBuffer()
        }
        if buffer.readableBytes > 0 { pieces.append(.bytes(buffer)) }
        return pieces
    }

    private static func size(of items: [PackItem]) -> Int {
        items.reduce(0) { $0 + size(of: $1) }
    }

    /// Bytes that an entry takes in a batch, roughly.
    static func size(of item: PackItem) -> Int {
        guard case .file = item.kind, item.status.isFile, item.status.size <= smallFile else { return TarBlock.size }
        return Int(item.status.size) + 2 * TarBlock.size
    }

    /// Writes an entry, without its data if the file is large: then that is returned.
    private func pack(_ item: PackItem, to buffer: inout ByteBuffer) throws(CacheError) -> LargeFile? {
        guard case .file = item.kind, item.status.isFile else {
            TarWriter.write(try fields(of: item), to: &buffer)
            return nil
        }
        guard let file = try open(item) else { return nil }
        var fields = fields(of: item, item.status)
        let (found, owner) = try attributes.read(file.descriptor, item.path)
        fields.attributes = found
        apply(owner, to: &fields)
        guard item.status.size <= PackReader.smallFile else {
            TarWriter.write(fields, to: &buffer)
            return LargeFile(handle: file, item: item, tolerates: options.toleratesChanges, skipped: skipped)
        }
        let start = buffer.writerIndex
        TarWriter.write(fields, to: &buffer)
        let size = Int(item.status.size)
        let count = try read(file, at: 0, size, item, to: &buffer)
        if try checkUnchanged(file, item, isComplete: count == size) {
            buffer.writeRepeatingByte(0, count: size - count + TarBlock.padding(behind: item.status.size))
        } else {
            buffer.moveWriterIndex(to: start)
        }
        return nil
    }

    /// Opens a regular file; `nil` if it is gone and that is tolerated.
    private func open(_ item: PackItem) throws(CacheError) -> Handle? {
        guard let directory = item.directory else { throw PackReader.changed(item) }
        let flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC
        let descriptor = withCString(item.name) { name in
            retryingInterrupts { openat(directory.descriptor, name, flags) }
        }
        if descriptor >= 0 { return Handle(descriptor) }
        guard errno == ENOENT || errno == ELOOP else { throw cacheError(errno: errno, "open \(item.path.quotedPath)") }
        guard options.toleratesChanges else { throw PackReader.changed(item) }
        skipped.add(item.path, "file", "it went while the tree was packed")
        return nil
    }

    static func changed(_ item: PackItem) -> CacheError {
        CacheError(
            .busy,
            "\(item.path.quotedPath) changed while it was packed (pack a tree that is at rest, or with toleratesChanges)",
            retry: .worthwhile)
    }

    /// Appends bytes of a file; returns their number, less than `count` only at its end.
    private func read(
        _ file: Handle, at offset: Int64, _ count: Int, _ item: PackItem, to buffer: inout ByteBuffer
    ) throws(CacheError) -> Int {
        var total = 0
        while total < count {
            var failure: Int32 = 0
            let wanted = count - total
            let got = buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: wanted) { free in
                let count = retryingInterrupts {
                    pread(file.descriptor, free.baseAddress, wanted, off_t(offset) + off_t(total))
                }
                if count < 0 { failure = errno }
                return max(0, count)
            }
            guard failure == 0 else { throw cacheError(errno: failure, "read \(item.path.quotedPath)") }
            if got == 0 { break }
            total += got
        }
        return total
    }

    /// Whether a file is still the one that was listed.
    ///
    /// - Returns: `false` never; a change that is tolerated is noted.
    /// - Throws: `CacheError` `.busy` for a change that is not tolerated.
    private func checkUnchanged(_ file: Handle, _ item: PackItem, isComplete: Bool) throws(CacheError) -> Bool {
        try PackReader.checkUnchanged(file, item, isComplete, options.toleratesChanges, skipped)
        return true
    }

    static func checkUnchanged(
        _ file: Handle, _ item: PackItem, _ isComplete: Bool, _ tolerates: Bool, _ skipped: SkippedParts
    ) throws(CacheError) {
        let old = item.status
        if isComplete, let new = FileStatus(of: file.descriptor), new.identity == old.identity,
            new.size == old.size, new.modified == old.modified, new.changed == old.changed
        {
            return
        }
        guard tolerates else { throw changed(item) }
        skipped.add(item.path, "contents", "the file changed while the tree was packed")
    }

    // MARK: Fields

    private func fields(of item: PackItem) throws(CacheError) -> TarFields {
        if case .removal = item.kind {
            var path = Array(item.path[..<item.nameStart])
            path += EntryPath.prefix + item.name
            return TarFields(kind: .file, path: path)
        }
        var fields = fields(of: item, item.status)
        fields.attributes = item.attributes
        var owner = item.owner
        if let directory = item.directory, item.status.isFile {
            (fields.attributes, owner) = try attributes.read(item.name, in: directory, item.status, item.path)
        }
        apply(owner, to: &fields)
        if case .link(let target) = item.kind {
            fields.kind = .hardLink
            fields.linkName = target
            fields.size = 0
        } else if item.status.isSymbolicLink, let directory = item.directory {
            fields.linkName = try PackReader.target(of: item.name, in: directory)
        }
        return fields
    }

    private func fields(of item: PackItem, _ status: FileStatus) -> TarFields {
        var fields = TarFields(kind: PackReader.kind(status), path: item.path)
        fields.mode = status.permissions & ~options.modeMask
        (fields.userID, fields.groupID) = options.owners.of(status)
        if status.isFile { fields.size = status.size }
        fields.modified = options.time(status.modified)
        if item.isExact {
            fields.mode = status.permissions
            fields.modified = status.modified.seconds
        }
        if status.isCharacterDevice || status.isBlockDevice {
            (fields.deviceMajor, fields.deviceMinor) = (status.deviceMajor, status.deviceMinor)
        }
        return fields
    }

    private func apply(_ owner: RecordedOwner?, to fields: inout TarFields) {
        guard let owner else { return }
        (fields.userID, fields.groupID, fields.mode) = (owner.userID, owner.groupID, owner.mode & ~options.modeMask)
    }

    private static func kind(_ status: FileStatus) -> TarFields.Kind {
        switch status.type {
        case FileStatus.TypeBits.directory: .directory
        case FileStatus.TypeBits.symbolicLink: .symbolicLink
        case FileStatus.TypeBits.characterDevice: .characterDevice
        case FileStatus.TypeBits.blockDevice: .blockDevice
        case FileStatus.TypeBits.fifo: .fifo
        default: .file
        }
    }

    /// The text of a symbolic link.
    static func target(of name: some Collection<UInt8>, in directory: PackDirectory) throws(CacheError) -> [UInt8] {
        var length = 0
        let text = [UInt8](unsafeUninitializedCapacity: 4096) { buffer, count in
            length = withCString(name) { name in
                buffer.withMemoryRebound(to: CChar.self) { buffer in
                    buffer.baseAddress.map { readlinkat(directory.descriptor, name, $0, buffer.count) } ?? -1
                }
            }
            count = max(0, length)
        }
        guard length >= 0 else {
            throw cacheError(errno: errno, "read the link \(directory.path(of: name).quotedPath)")
        }
        return text
    }

    /// Whether two files of one size hold the same bytes.
    static func haveEqualContents(
        _ name: [UInt8], _ size: Int64, in directory: PackDirectory, and base: PackDirectory
    ) throws(CacheError) -> Bool {
        func open(_ directory: PackDirectory) throws(CacheError) -> Handle {
            let flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC
            let descriptor = withCString(name) { name in
                retryingInterrupts { openat(directory.descriptor, name, flags) }
            }
            guard descriptor >= 0 else {
                throw cacheError(errno: errno, "open \(directory.path(of: name).quotedPath)")
            }
            return Handle(descriptor)
        }
        let files = (try open(directory), try open(base))
        let chunk = Int(min(size, 256 << 10))
        var buffers = ([UInt8](repeating: 0, count: chunk), [UInt8](repeating: 0, count: chunk))
        var offset: Int64 = 0
        while offset < size {
            let left = retryingInterrupts { pread(files.0.descriptor, &buffers.0, chunk, off_t(offset)) }
            let right = retryingInterrupts { pread(files.1.descriptor, &buffers.1, chunk, off_t(offset)) }
            guard left >= 0, right >= 0 else {
                throw cacheError(errno: errno, "read \(directory.path(of: name).quotedPath)")
            }
            guard left == right, left > 0 else { return left == right }
            guard buffers.0[..<left] == buffers.1[..<right] else { return false }
            offset += Int64(left)
        }
        return true
    }
}
