extension LLB {
    /// A process that runs on the file systems of its inputs.
    public struct ExecOp: Sendable {
        /// The command, its environment and user.
        public var meta: Meta?
        /// The file systems, the root's among them.
        public var mounts: [Mount] = []
        /// The network of the process.
        public var network = NetworkMode.sandbox
        /// The privileges of the process.
        public var security = SecurityMode.sandbox
        /// Secrets that become variables.
        public var secretVariables: [SecretVariable] = []
        /// Devices of the host.
        public var devices: [Device] = []
        var unknownFields: [UInt8] = []

        /// An operation without a command.
        public init() {}
    }

    /// The command of an ``LLB/ExecOp``, its environment and user.
    public struct Meta: Sendable {
        /// The program and its arguments.
        public var arguments: [String] = []
        /// Variables, as in `PATH=/bin`, in the order in which they were set.
        public var environment: [String] = []
        /// The working directory.
        public var workingDirectory = ""
        /// The user and perhaps the group, as in `bob:staff`; empty for root.
        public var user = ""
        /// Proxies that the process gets as variables; no key holds them.
        public var proxy: Proxy?
        /// Names that the process can resolve; keys hold the names alone.
        public var extraHosts: [HostAddress] = []
        /// The host's name.
        public var hostname = ""
        /// Limits of resources.
        public var limits: [ResourceLimit] = []
        /// The parent of the process's control group.
        public var cgroupParent = ""
        /// Whether directories that were made as mount points are removed afterwards.
        public var removesMountStubs = false
        /// The exit codes that count as success; empty for 0 alone.
        public var validExitCodes: [Int32] = []
        var unknownFields: [UInt8] = []

        /// A command without arguments.
        public init() {}
    }

    /// A file system at a path of an ``LLB/ExecOp``.
    public struct Mount: Sendable {
        /// The index of the input, or -1 for none.
        public var input: Int64 = 0
        /// The path inside the input; empty for all of it.
        public var selector = ""
        /// The path at which the process sees it.
        public var destination = ""
        /// The index of the output that the mount becomes, or -1 for none.
        public var output: Int64 = 0
        /// Whether the process cannot write to it.
        public var isReadOnly = false
        /// The kind of the mount.
        public var kind = MountKind.bind
        /// Of a temporary file system.
        public var tmpfs: TmpfsOptions?
        /// Of a directory that outlives the step.
        public var cache: CacheOptions?
        /// Of a secret.
        public var secret: SecretOptions?
        /// Of an agent's socket.
        public var ssh: SecretOptions?
        /// An identifier of the result, unused by Dockerfiles.
        public var resultID = ""
        /// Whether the step is found by the content of this input, too.
        public var contentCache = ContentCacheMode.automatic
        var unknownFields: [UInt8] = []

        /// A mount of input 0 that becomes output 0.
        public init() {}

        /// A mount of an input, -1 for none, that becomes an output, -1 for none.
        public init(input: Int64, at destination: String, output: Int64 = -1) {
            self.input = input
            self.destination = destination
            self.output = output
        }
    }

    /// Proxies of a process.
    public struct Proxy: Sendable {
        /// The values of `http_proxy`, `https_proxy`, `ftp_proxy`, `no_proxy` and `all_proxy`.
        public var http = "", https = "", ftp = "", no = "", all = ""
        var unknownFields: [UInt8] = []
        /// No proxies.
        public init() {}
    }

    /// A name and its address.
    public struct HostAddress: Sendable {
        /// The name.
        public var host = ""
        /// The address.
        public var address = ""
        var unknownFields: [UInt8] = []
        /// An empty name.
        public init() {}
    }

    /// A limit of a resource.
    public struct ResourceLimit: Sendable {
        /// The resource, as in `nofile`.
        public var name = ""
        /// The soft and the hard limit; -1 means no limit.
        public var soft: Int64 = 0, hard: Int64 = 0
        var unknownFields: [UInt8] = []
        /// An empty limit.
        public init() {}
    }

    /// A secret that becomes a variable.
    public struct SecretVariable: Sendable {
        /// The secret's name.
        public var id = ""
        /// The variable.
        public var name = ""
        /// Whether the step runs without it.
        public var isOptional = false
        var unknownFields: [UInt8] = []
        /// A secret without a name.
        public init() {}
    }

    /// A device of the host, by its name in the Container Device Interface.
    public struct Device: Sendable {
        /// The name, as in `vendor.example/gpu=0`.
        public var name = ""
        /// Whether the step runs without it.
        public var isOptional = false
        var unknownFields: [UInt8] = []
        /// A device without a name.
        public init() {}
    }

    /// Options of a temporary file system.
    public struct TmpfsOptions: Sendable {
        /// The size in bytes, 0 for no limit.
        public var size: Int64 = 0
        var unknownFields: [UInt8] = []
        /// No limit.
        public init() {}
    }

    /// Options of a directory that outlives the step.
    public struct CacheOptions: Sendable {
        /// The directory's name.
        public var id = ""
        /// Whether steps at the same time share it.
        public var sharing = CacheSharing.shared
        var unknownFields: [UInt8] = []
        /// A directory without a name.
        public init() {}
    }

    /// Options of a secret, or of an agent's socket.
    public struct SecretOptions: Sendable {
        /// The name.
        public var id = ""
        /// The owner and the group.
        public var uid: UInt32 = 0, gid: UInt32 = 0
        /// The permissions.
        public var mode: UInt32 = 0
        /// Whether the step runs without it.
        public var isOptional = false
        var unknownFields: [UInt8] = []
        /// A secret without a name.
        public init() {}
    }
}
