import BuildCacheCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// The decisions about attributes that depend on the caller's privileges and options.
///
/// All of them are here, so that those of another platform or another user can be tested without being there.
struct UnpackPolicy: Hashable, Sendable {
    /// Whether the caller is root, perhaps of a user namespace.
    var isPrivileged: Bool
    /// Of new files, without anything else said.
    var userID: UInt32
    var groupID: UInt32
    /// The bits that the process takes from modes of new files; all if that is unknown.
    var umask: UInt32
    /// Whether files get the owners that the layer says.
    var setsOwners: Bool
    /// Whether owners and modes are written to an extended attribute instead.
    var recordsOwners: Bool

    static let noOwner = "the owner is not kept"

    /// Of this process.
    init(owners: LayerUnpacker.Owners) {
        self.init(
            owners: owners, isPrivileged: geteuid() == 0, userID: geteuid(), groupID: getegid(),
            umask: UnpackPolicy.currentUmask() ?? 0o777)
    }

    init(
        owners: LayerUnpacker.Owners, isPrivileged: Bool, userID: UInt32, groupID: UInt32, umask: UInt32
    ) {
        self.isPrivileged = isPrivileged
        self.userID = userID
        self.groupID = groupID
        self.umask = umask
        setsOwners = owners == .ifPermitted && isPrivileged
        recordsOwners = owners == .recorded
    }

    /// Linux tells it to a reader; setting it, as elsewhere, would change it for other threads for a moment.
    private static func currentUmask() -> UInt32? {
        #if os(Linux)
            guard let file = fopen("/proc/self/status", "re") else { return nil }
            defer { fclose(file) }
            var line = [CChar](repeating: 0, count: 512)
            while fgets(&line, Int32(line.count), file) != nil {
                let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
                guard text.hasPrefix("Umask:") else { continue }
                let digits = text.dropFirst(6).filter { ("0"..."7").contains($0) }
                return UInt32(digits: digits, radix: 8, in: 0...0o777)
            }
        #endif
        return nil
    }

    /// The owner that a file gets.
    func owner(of attributes: EntryAttributes) -> (user: UInt32, group: UInt32) {
        setsOwners ? (attributes.userID, attributes.groupID) : (userID, groupID)
    }

    /// The mode that a file gets: without its owner, it must not run as its owner.
    func mode(of attributes: EntryAttributes) -> UInt32 {
        setsOwners ? attributes.mode : attributes.mode & ~0o6000
    }

    /// The mode that a directory gets: setgid only hands down a group, which is then the caller's.
    func directoryMode(of attributes: EntryAttributes) -> UInt32 { mode(of: attributes) }

    /// The reason for which a layer may not set an extended attribute; `nil` if it may.
    ///
    /// Those of overlayfs open files of lower layers to a mount, whatever their prefix is.
    func refusal(of name: [UInt8]) -> String? {
        if name.isEmpty || name.contains(0) || name.count > 255 { return "invalid name" }
        if name.starts(with: "user.overlay.".utf8) { return "attributes of overlayfs are never set from a layer" }
        if name.starts(with: "user.".utf8) { return nil }
        guard name.elementsEqual("security.capability".utf8) else { return "only user.* and capabilities are set" }
        return isPrivileged ? nil : "only root sets capabilities"
    }
}

/// An owner and a mode in an extended attribute, as fuse-overlayfs reads it.
struct RecordedOwner: Hashable, Sendable {
    var userID: UInt32
    var groupID: UInt32
    var mode: UInt32

    static let attribute = Array("user.containers.override_stat".utf8)

    init(_ attributes: EntryAttributes) {
        (userID, groupID, mode) = (attributes.userID, attributes.groupID, attributes.mode)
    }

    /// Reads `uid:gid:mode`, perhaps with a type behind.
    init?(_ text: [UInt8]) {
        let parts = String(decoding: text, as: UTF8.self).split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count >= 3, let user = UInt32(decimal: parts[0], in: 0...UInt32.max - 1),
            let group = UInt32(decimal: parts[1], in: 0...UInt32.max - 1),
            let mode = UInt32(digits: parts[2], radix: 8, in: 0...0o177777)
        else { return nil }
        (userID, groupID, self.mode) = (user, group, mode & 0o7777)
    }

    func text(type: String) -> String { "\(userID):\(groupID):0\(String(mode, radix: 8)):\(type)" }
}
