public import BuildCacheCore

extension LayerPacker {
    /// The owners of packed files.
    @nonexhaustive
    public enum Owners: Hashable, Sendable {
        /// Root, as `COPY` makes them: the diffID does not depend on the user that packs.
        case root
        /// Those of the files.
        case kept
        /// One user and one group.
        case fixed(user: UInt32, group: UInt32)
        /// Those of the files, replaced where a table says so.
        case mapped(users: [UInt32: UInt32], groups: [UInt32: UInt32])
        /// Those in the attribute `user.containers.override_stat`, which ``LayerUnpacker/Owners/recorded`` writes, with the mode in it;
        /// root for files without it.
        case recorded

        func of(_ status: FileStatus) -> (user: UInt32, group: UInt32) {
            switch self {
            case .root, .recorded: (0, 0)
            case .kept: (status.userID, status.groupID)
            case .fixed(let user, let group): (user, group)
            case .mapped(let users, let groups):
                (users[status.userID] ?? status.userID, groups[status.groupID] ?? status.groupID)
            }
        }
    }

    /// The extended attributes that are packed.
    @nonexhaustive
    public enum Attributes: Hashable, Sendable {
        /// Capabilities, as BuildKit packs them.
        case capabilities
        /// None.
        case none
        /// Those of these names: `security.capability` and `user.*`, but never those of overlayfs. Others are passed over.
        case list([String])
    }

    /// The treatment of second names of a file.
    @nonexhaustive
    public enum HardLinks: Hashable, Sendable {
        /// They become links.
        case detected
        /// Each name becomes a file of its own.
        case copied
    }

    /// The treatment of FIFOs and devices; sockets are always left out.
    @nonexhaustive
    public enum SpecialFiles: Hashable, Sendable {
        /// They are packed.
        case packed
        /// They are left out, and noted in the report.
        case leftOut
        /// They are refused with `.unsupported`.
        case refused
    }

    /// The comparison of files that look equal: same mode, owner, size and second of modification.
    @nonexhaustive
    public enum ContentComparison: Hashable, Sendable {
        /// As BuildKit does: the fractions of the second decide, and the contents only if both are zero, as in unpacked trees.
        case asBuildKit
        /// The contents decide.
        case always
        /// The fractions decide, zero or not; no file is read for it.
        case never
    }

    /// A directory of the layer that everything is put into.
    public struct Prefix: Hashable, Sendable {
        /// The path, as in `opt/app`.
        public var path: String
        /// The date of the directories that it makes, of mode 0755 and owned by root.
        public var modified: Timestamp

        /// Creates a prefix.
        public init(_ path: String, modified: Timestamp) {
            self.path = path
            self.modified = modified
        }
    }

    /// The choices of a caller.
    public struct Options: Hashable, Sendable {
        /// The owners of files.
        ///
        /// Default ``Owners/root``.
        public var owners = Owners.root
        /// Later dates are replaced by this one.
        ///
        /// Default `nil`: dates are kept.
        public var latestTime: Timestamp?
        /// The date of everything.
        ///
        /// Default `nil`: dates are kept.
        public var fixedTime: Timestamp?
        /// Bits that are cleared in all modes.
        ///
        /// Default none.
        public var modeMask: UInt32 = 0
        /// The extended attributes that are packed.
        ///
        /// Default ``Attributes/capabilities``.
        public var attributes = Attributes.capabilities
        /// The treatment of second names of a file.
        ///
        /// Default ``HardLinks/detected``.
        public var hardLinks = HardLinks.detected
        /// The treatment of FIFOs and devices.
        ///
        /// Default ``SpecialFiles/packed``.
        public var specialFiles = SpecialFiles.packed
        /// The paths that are left out.
        ///
        /// Default ``IgnorePatterns/none``.
        public var ignore = IgnorePatterns.none
        /// The comparison of files that look equal, for a difference.
        ///
        /// Default ``ContentComparison/asBuildKit``.
        public var contents = ContentComparison.asBuildKit
        /// A directory that everything is put into.
        ///
        /// Default `nil`: the tree is the root of the layer.
        public var prefix: Prefix?
        /// Whether files may change while they are packed.
        ///
        /// Default `false`: such a file is an error. Otherwise it is cut or filled with zeros to the length that it had, and noted.
        public var toleratesChanges = false
        /// Threads that read files, 1 to 8.
        ///
        /// `nil`, the default, means as many as there are cores.
        public var workers: Int?

        /// Creates the default choices.
        public init() {}

        var workerCount: Int { min(8, max(1, workers ?? Workers.processors.threads)) }

        /// The time that goes into a layer.
        func time(_ modified: FileTime) -> Int64 {
            if let fixedTime { return fixedTime.seconds }
            guard let latestTime else { return modified.seconds }
            return min(modified.seconds, latestTime.seconds)
        }
    }
}
