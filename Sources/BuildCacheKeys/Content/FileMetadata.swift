public import BuildCacheCore

/// The metadata of a file that a content digest holds: neither its name nor its times.
public struct FileMetadata: Hashable, Sendable {
    /// The type of a file.
    @nonexhaustive
    public enum Kind: Hashable, Sendable {
        /// A file with data.
        case regular
        /// A directory.
        case directory
        /// A symbolic link with its target.
        case symlink([UInt8])
        /// A device.
        case characterDevice, blockDevice
        /// A named pipe.
        case fifo
        /// A socket, which counts as an empty file.
        case socket
    }

    /// The type.
    public var kind: Kind
    /// The permission bits with setuid, setgid and sticky: 12 bits.
    public var permissions: UInt32
    /// The owner's number.
    public var uid: UInt32
    /// The group's number.
    public var gid: UInt32
    /// The number of bytes of data; counts for regular files only.
    public var size: Int64
    /// The numbers of a device of a local context; 0 elsewhere, because BuildKit does not count those of snapshots.
    public var deviceMajor: Int64 = 0, deviceMinor: Int64 = 0
    /// Extended attributes by name.
    public var attributes: [[UInt8]: [UInt8]] = [:]

    /// Makes metadata; 0644 of root by default.
    public init(
        _ kind: Kind = .regular, permissions: UInt32 = 0o644, uid: UInt32 = 0, gid: UInt32 = 0, size: Int64 = 0
    ) {
        self.kind = kind
        self.permissions = permissions
        self.uid = uid
        self.gid = gid
        self.size = size
    }

    /// The bytes that are hashed before the file's data.
    ///
    /// - Source: `Documentation/Spec/cache-keys.md` §5.2; BuildKit `cache/contenthash/tarsum.go`.
    package var header: [UInt8] {
        var type = "0"
        var mode = permissions & 0o7777
        var target: [UInt8] = []
        switch kind {
        case .regular, .socket: break
        case .directory: type = "5"
        case .symlink(let link):
            type = "2"
            mode = 0o777
            target = link
        case .characterDevice: type = "3"
        case .blockDevice: type = "4"
        case .fifo: type = "6"
        }
        let length = kind == .regular ? size : 0
        var bytes = Array("namemode\(mode)uid\(uid)gid\(gid)size\(length)typeflag\(type)linkname".utf8)
        bytes += target
        bytes += Array("unamegnamedevmajor\(deviceMajor)devminor\(deviceMinor)".utf8)
        for (name, value) in attributes.sorted(by: { $0.key.precedes($1.key) }) where FileMetadata.counts(name) {
            bytes += name
            bytes += value
        }
        return bytes
    }

    /// Whether an extended attribute is part of a digest: those of the system are not, file capabilities excepted.
    private static func counts(_ name: [UInt8]) -> Bool {
        name.elementsEqual("security.capability".utf8)
            || !name.starts(with: "security.".utf8) && !name.starts(with: "system.".utf8)
    }

    /// The digest of this file with its data.
    public func digest(data: some Sequence<UInt8> = []) -> Digest {
        Digest(of: header + Array(data))
    }
}
