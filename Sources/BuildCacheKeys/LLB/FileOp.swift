extension LLB {
    /// Changes of files without a process.
    public struct FileOp: Sendable {
        /// The changes, in this order.
        public var actions: [FileAction] = []
        var unknownFields: [UInt8] = []
        /// No actions.
        public init() {}
        /// Actions in this order.
        public init(_ actions: [FileAction]) { self.actions = actions }
    }

    /// One change of files.
    ///
    /// An index below the number of the operation's inputs means an input; others mean an earlier action, counted from there.
    public struct FileAction: Sendable {
        /// The index of what is changed, or -1 for nothing.
        public var input: Int64 = 0
        /// The index of what is copied from, or -1 for nothing.
        public var secondaryInput: Int64 = 0
        /// The index of the output that this becomes, or -1 for none.
        public var output: Int64 = 0
        /// The change itself; `nil` for one that this module does not know.
        public var change: FileChange?
        var unknownFields: [UInt8] = []
        /// An action without a change.
        public init() {}
        /// A change of one input.
        public init(input: Int64, secondaryInput: Int64 = -1, output: Int64 = -1, _ change: FileChange) {
            self.input = input
            self.secondaryInput = secondaryInput
            self.output = output
            self.change = change
        }
    }

    /// The change that a ``LLB/FileAction`` makes.
    @nonexhaustive
    public enum FileChange: Sendable {
        /// Files are copied.
        case copy(Copy)
        /// A file is made.
        case makeFile(MakeFile)
        /// A directory is made.
        case makeDirectory(MakeDirectory)
        /// Files are removed.
        case remove(Remove)
        /// A symbolic link is made.
        case symlink(Symlink)
    }

    /// A copy of files.
    public struct Copy: Sendable {
        /// The path, or the wildcard, that is copied.
        public var source = ""
        /// The path to which it is copied.
        public var destination = ""
        /// The new owner; `nil` keeps the old one.
        public var owner: Owner?
        /// The new permissions; -1 keeps the old ones.
        public var mode: Int32 = 0
        /// Whether a link at the source's end is followed.
        public var followsSymlinks = false
        /// Whether of a directory the content is copied, and not the directory itself.
        public var copiesDirectoryContents = false
        /// Whether archives are unpacked.
        public var unpacksArchives = false
        /// Whether directories above the destination are made.
        public var createsDestinationPath = false
        /// Whether the source may be a wildcard.
        public var allowsWildcard = false
        /// Whether the wildcard may match nothing.
        public var allowsEmptyWildcard = false
        /// The new time in nanoseconds since 1970; -1 keeps the old one.
        public var timestamp: Int64 = 0
        /// Patterns of which a file must match one.
        public var includePatterns: [String] = []
        /// Patterns of which a file must match none.
        public var excludePatterns: [String] = []
        /// Whether what is there is replaced even if its type differs.
        public var replacesExisting = false
        /// The new permissions in the form of `chmod`.
        public var modeText = ""
        /// Paths that must be there.
        public var requiredPaths: [String] = []
        var unknownFields: [UInt8] = []
        /// An empty copy.
        public init() {}
    }

    /// A new file.
    public struct MakeFile: Sendable {
        /// The path.
        public var path = ""
        /// The permissions.
        public var mode: Int32 = 0
        /// The content.
        public var data: [UInt8] = []
        /// The owner; `nil` for root.
        public var owner: Owner?
        /// The time in nanoseconds since 1970; -1 for the present.
        public var timestamp: Int64 = 0
        var unknownFields: [UInt8] = []
        /// A file without a path.
        public init() {}
    }

    /// A new directory.
    public struct MakeDirectory: Sendable {
        /// The path.
        public var path = ""
        /// The permissions.
        public var mode: Int32 = 0
        /// Whether directories above it are made.
        public var makesParents = false
        /// The owner; `nil` for root.
        public var owner: Owner?
        /// The time in nanoseconds since 1970; -1 for the present.
        public var timestamp: Int64 = 0
        var unknownFields: [UInt8] = []
        /// A directory without a path.
        public init() {}
    }

    /// Files that are removed.
    public struct Remove: Sendable {
        /// The path, or the wildcard.
        public var path = ""
        /// Whether it may be absent.
        public var allowsNotFound = false
        /// Whether the path may be a wildcard.
        public var allowsWildcard = false
        var unknownFields: [UInt8] = []
        /// An empty path.
        public init() {}
    }

    /// A new symbolic link.
    public struct Symlink: Sendable {
        /// The target of the link.
        public var target = ""
        /// The link's path.
        public var path = ""
        /// The owner; `nil` for root.
        public var owner: Owner?
        /// The time in nanoseconds since 1970; -1 for the present.
        public var timestamp: Int64 = 0
        var unknownFields: [UInt8] = []
        /// A link without a path.
        public init() {}
    }

    /// A user and a group.
    public struct Owner: Sendable {
        /// The user.
        public var user: User?
        /// The group.
        public var group: User?
        var unknownFields: [UInt8] = []
        /// Neither user nor group.
        public init() {}
        /// A user and a group.
        public init(user: User?, group: User? = nil) {
            self.user = user
            self.group = group
        }
    }

    /// A user or a group, by number or by name.
    public struct User: Sendable {
        /// A name, and the input whose `/etc/passwd` or `/etc/group` says its number.
        public var name: NamedUser?
        /// The number.
        public var id: UInt32?
        var unknownFields: [UInt8] = []
        /// An empty user.
        public init() {}
        /// By number.
        public init(id: UInt32) { self.id = id }
        /// By name; the input is -1 for none.
        public init(name: String, input: Int64) { self.name = NamedUser(name: name, input: input) }
    }

    /// A name of a user or a group.
    public struct NamedUser: Sendable {
        /// The name.
        public var name = ""
        /// The index of the input whose `/etc/passwd` or `/etc/group` says the number.
        public var input: Int64 = 0
        var unknownFields: [UInt8] = []
        /// An empty name.
        public init() {}
        init(name: String, input: Int64) {
            self.name = name
            self.input = input
        }
    }
}
