public import BuildCacheKeys

/// The options of a build that change what its steps are.
public struct DockerfileOptions: Sendable {
    /// The stage that is built, by name; `nil` for the last.
    public var target: String?
    /// The platform of the result; that of this machine by default.
    public var platform = LLB.Platform.host
    /// The platform of the builder, for `BUILDPLATFORM`; that of this machine by default.
    public var buildPlatform = LLB.Platform.host
    /// Values of `ARG` by name.
    public var buildArguments: [String: String] = [:]
    /// The network of `RUN` without `--network`.
    public var network = LLB.NetworkMode.sandbox
    /// The host's name for `RUN`; empty for none.
    public var hostname = ""
    /// Names that `RUN` can resolve.
    public var extraHosts: [LLB.HostAddress] = []
    /// Limits of resources for `RUN`.
    public var limits: [LLB.ResourceLimit] = []
    /// The parent of control groups for `RUN`; empty for none.
    public var cgroupParent = ""
    /// The size of `/dev/shm` in bytes; 0 for that of the builder.
    public var sharedMemory: Int64 = 0
    /// The prefix of the names of cache mounts, `BUILDKIT_CACHE_MOUNT_NS`.
    public var cacheMountNamespace = ""
    /// The identifier of this build in the operation of the context; no key holds it.
    public var contextID = ""

    /// The options of a build for this machine without arguments.
    public init() {}
}
