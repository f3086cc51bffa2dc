import BuildCacheCore
import CFiles

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

extension TreeLister {
    /// Whether two files of one name count as the same, as BuildKit decides it.
    ///
    /// - Source: continuity `fs/diff.go: sameFile`.
    func isSame(
        _ old: FileStatus, _ new: FileStatus, _ name: [UInt8], _ directory: PackDirectory, _ base: PackDirectory?
    ) throws(CacheError) -> Bool {
        guard let base else { return false }
        if old.identity == new.identity { return true }
        guard old.mode == new.mode, old.userID == new.userID, old.groupID == new.groupID,
            old.deviceMajor == new.deviceMajor, old.deviceMinor == new.deviceMinor
        else { return false }
        if !new.isDirectory {
            guard old.size == new.size, old.modified.seconds == new.modified.seconds else { return false }
        }
        guard
            try reader.capability(of: name, in: directory, new) == reader.capability(of: name, in: base, old)
        else { return false }
        guard !new.isDirectory else { return true }
        let isCut = old.modified.nanoseconds == 0 && new.modified.nanoseconds == 0
        switch options.contents {
        case .asBuildKit where !isCut: return old.modified.nanoseconds == new.modified.nanoseconds
        case .never: return old.modified.nanoseconds == new.modified.nanoseconds
        default: break
        }
        if new.isSymbolicLink {
            return try PackReader.target(of: name, in: directory) == PackReader.target(of: name, in: base)
        }
        guard new.isFile, new.size > 0 else { return true }
        return try PackReader.haveEqualContents(name, new.size, in: directory, and: base)
    }
}

/// Reads the extended attributes that go into a layer.
struct AttributeReader: Sendable {
    private let names: [[UInt8]]
    private let recordsOwners: Bool
    private static let capability = Array("security.capability".utf8)

    init(_ options: LayerPacker.Options) {
        recordsOwners = options.owners == .recorded
        switch options.attributes {
        case .none: names = []
        case .capabilities: names = [AttributeReader.capability]
        case .list(let list):
            let wanted = Set(list.map { Array($0.utf8) }).filter(AttributeReader.isPermitted)
            names = wanted.sorted { $0.lexicographicallyPrecedes($1) }
        }
    }

    /// Attributes that mean something to a file system only never go into a layer.
    private static func isPermitted(_ name: [UInt8]) -> Bool {
        if name == capability { return true }
        return name.starts(with: "user.".utf8) && !name.starts(with: "user.overlay.".utf8) && !name.contains(0)
            && !name.contains(UInt8(ascii: "=")) && name != RecordedOwner.attribute
    }

    /// Reads those of an open file.
    func read(
        _ descriptor: Int32, _ path: [UInt8]
    ) throws(CacheError) -> ([EntryAttributes.Extended], RecordedOwner?) {
        var found: [EntryAttributes.Extended] = []
        for name in names {
            if let value = value(name, of: descriptor), !value.isEmpty {
                found.append(EntryAttributes.Extended(name: name, value: value))
            }
        }
        return (found, recordsOwners ? value(RecordedOwner.attribute, of: descriptor).flatMap(RecordedOwner.init) : nil)
    }

    /// Reads those of a file that is not open.
    func read(
        _ name: ArraySlice<UInt8>, in directory: PackDirectory, _ status: FileStatus, _ path: [UInt8]
    ) throws(CacheError) -> ([EntryAttributes.Extended], RecordedOwner?) {
        guard status.isFile, !names.isEmpty || recordsOwners else { return ([], nil) }
        let flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC
        let descriptor = withCString(name) { name in retryingInterrupts { openat(directory.descriptor, name, flags) } }
        guard descriptor >= 0 else { throw cacheError(errno: errno, "open \(path.quotedPath)") }
        return try withExtendedLifetime(Handle(descriptor)) { handle throws(CacheError) in
            try read(handle.descriptor, path)
        }
    }

    /// One attribute of an open file; `nil` if it has none of this name.
    func value(_ name: [UInt8], of descriptor: Int32) -> [UInt8]? {
        withCString(name) { name in
            AttributeReader.value { files_get_attribute(descriptor, name, $0, $1) }
        }
    }

    /// One attribute of a file that is not open; `nil` if it has none of this name.
    func value(_ attribute: [UInt8], of name: ArraySlice<UInt8>, in directory: PackDirectory) -> [UInt8]? {
        withCString(name) { name in
            withCString(attribute) { attribute -> [UInt8]? in
                let value = AttributeReader.value {
                    files_get_attribute_at(directory.descriptor, name, attribute, $0, $1)
                }
                guard value == nil, [ENOSYS, EPERM, EINVAL].contains(errno) else { return value }
                // Older kernels need an open file.
                let flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC
                let descriptor = retryingInterrupts { openat(directory.descriptor, name, flags) }
                guard descriptor >= 0 else { return nil }
                return withExtendedLifetime(Handle(descriptor)) { handle in
                    AttributeReader.value { files_get_attribute(handle.descriptor, attribute, $0, $1) }
                }
            }
        }
    }

    /// The capabilities of a file, which only regular ones have.
    func capability(
        of name: [UInt8], in directory: PackDirectory, _ status: FileStatus
    ) throws(CacheError) -> [UInt8]? {
        status.isFile ? value(AttributeReader.capability, of: name[...], in: directory) : nil
    }

    private static func value(_ read: (UnsafeMutableRawPointer?, Int) -> Int) -> [UInt8]? {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 256) { buffer in
            let count = read(buffer.baseAddress, buffer.count)
            if count >= 0 { return Array(buffer[..<count]) }
            guard errno == ERANGE else { return nil }
            var large = [UInt8](repeating: 0, count: 64 << 10)
            let size = large.withUnsafeMutableBytes { read($0.baseAddress, $0.count) }
            return size >= 0 ? Array(large[..<size]) : nil
        }
    }
}
