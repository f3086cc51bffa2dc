extension LayerUnpacker {
    /// The treatment of removals.
    @nonexhaustive
    public enum Removals: Hashable, Sendable {
        /// Removed names are deleted: for one tree of several layers.
        case deleted
        /// Removed names become the marks of overlayfs: for a directory that holds one layer.
        case overlay
    }

    /// The owners of unpacked files.
    @nonexhaustive
    public enum Owners: Hashable, Sendable {
        /// The recorded ones for root; the caller for any other user, and then no file is setuid or setgid.
        case ifPermitted
        /// The caller, and no file is setuid or setgid.
        case caller
        /// The caller; the recorded owner and mode go to the attribute `user.containers.override_stat`, which fuse-overlayfs and
        /// ``LayerPacker`` read.
        case recorded
    }

    /// The treatment of character and block devices.
    @nonexhaustive
    public enum Devices: Hashable, Sendable {
        /// Left out, and noted in the report.
        case leftOut
        /// Made, where the caller may.
        case made
        /// Refused with `.unsupported`.
        case refused
    }

    /// The symbolic links that are accepted.
    @nonexhaustive
    public enum LinkTargets: Hashable, Sendable {
        /// All, as images need it.
        case anywhere
        /// Those that cannot lead out of the directory: for trees that programs of the host read. Others are refused with `.denied`.
        case inside
    }

    /// Limits for each layer.
    public struct Limits: Hashable, Sendable {
        /// Entries of a layer.
        ///
        /// Default 4 Mi.
        public var entries: Int64
        /// Levels of directories, 1 to 2048.
        ///
        /// Default 2048.
        public var depth: Int
        /// Bytes of the tar, and of all its files with their holes; memory of a zstd window.
        public var decompression: DecompressionLimit

        /// Creates limits.
        public init(
            entries: Int64 = 4 << 20, depth: Int = 2048, decompression: DecompressionLimit = DecompressionLimit()
        ) {
            self.entries = entries
            self.depth = depth
            self.decompression = decompression
        }
    }

    /// The choices of a caller.
    public struct Options: Hashable, Sendable {
        /// The treatment of removals.
        ///
        /// Default ``Removals/deleted``.
        public var removals = Removals.deleted
        /// The owners of files.
        ///
        /// Default ``Owners/ifPermitted``.
        public var owners = Owners.ifPermitted
        /// The treatment of devices.
        ///
        /// Default ``Devices/leftOut``.
        public var devices = Devices.leftOut
        /// The symbolic links that are accepted.
        ///
        /// Default ``LinkTargets/anywhere``.
        public var links = LinkTargets.anywhere
        /// Limits for each layer.
        public var limits = Limits()
        /// Threads that make files, 1 to 8.
        ///
        /// `nil`, the default, means as many as there are cores.
        public var workers: Int?
        /// Whether the tree is on the disk before its name is.
        ///
        /// Default `false`: a tree that a crash of the machine damages can be unpacked again.
        public var isDurable = false

        /// Creates the default choices.
        public init() {}

        var workerCount: Int { min(8, max(1, workers ?? Workers.processors.threads)) }
    }
}
