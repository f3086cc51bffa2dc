extension LLB {
    /// The network of a process.
    public struct NetworkMode: RawRepresentable, Hashable, Sendable, LLBEnumeration {
        /// The number in the definition.
        public var rawValue: Int32
        /// Takes any number; what is not listed is kept.
        public init(rawValue: Int32) { self.rawValue = rawValue }
        /// A network of its own.
        public static let sandbox = NetworkMode(rawValue: 0)
        /// The host's network.
        public static let host = NetworkMode(rawValue: 1)
        /// No network.
        public static let none = NetworkMode(rawValue: 2)
    }

    /// The privileges of a process.
    public struct SecurityMode: RawRepresentable, Hashable, Sendable, LLBEnumeration {
        /// The number in the definition.
        public var rawValue: Int32
        /// Takes any number; what is not listed is kept.
        public init(rawValue: Int32) { self.rawValue = rawValue }
        /// Those of a container.
        public static let sandbox = SecurityMode(rawValue: 0)
        /// Those of the daemon.
        public static let insecure = SecurityMode(rawValue: 1)
    }

    /// The kind of a mount.
    public struct MountKind: RawRepresentable, Hashable, Sendable, LLBEnumeration {
        /// The number in the definition.
        public var rawValue: Int32
        /// Takes any number; what is not listed is kept.
        public init(rawValue: Int32) { self.rawValue = rawValue }
        /// An input.
        public static let bind = MountKind(rawValue: 0)
        /// A secret of the client.
        public static let secret = MountKind(rawValue: 1)
        /// An agent's socket of the client.
        public static let ssh = MountKind(rawValue: 2)
        /// A directory that outlives the step.
        public static let cache = MountKind(rawValue: 3)
        /// A temporary file system.
        public static let tmpfs = MountKind(rawValue: 4)
    }

    /// Whether steps at the same time share a cache mount.
    public struct CacheSharing: RawRepresentable, Hashable, Sendable, LLBEnumeration {
        /// The number in the definition.
        public var rawValue: Int32
        /// Takes any number; what is not listed is kept.
        public init(rawValue: Int32) { self.rawValue = rawValue }
        /// All write to one directory.
        public static let shared = CacheSharing(rawValue: 0)
        /// Each gets a directory of its own.
        public static let `private` = CacheSharing(rawValue: 1)
        /// The second waits for the first.
        public static let locked = CacheSharing(rawValue: 2)
    }

    /// Whether a step is found by the content of a mounted input, too.
    public struct ContentCacheMode: RawRepresentable, Hashable, Sendable, LLBEnumeration {
        /// The number in the definition.
        public var rawValue: Int32
        /// Takes any number; what is not listed is kept.
        public init(rawValue: Int32) { self.rawValue = rawValue }
        /// Yes for inputs that the step does not change, the root excepted.
        public static let automatic = ContentCacheMode(rawValue: 0)
        /// Yes.
        public static let on = ContentCacheMode(rawValue: 1)
        /// No.
        public static let off = ContentCacheMode(rawValue: 2)
    }
}
