public import BuildCacheCore

/// A driver of `docker buildx`, which decides which caches a build can use.
///
/// Check before work starts: a build reports only at its end that its driver cannot export.
///
/// - Source: `Documentation/Spec/spec-syntax.md` §6; the importers and exporters that moby's `builder-next/controller.go` registers. That the classic
///   image store reads every cache in a registry, not only inline ones, is what `.ci/interop` sees of Docker 20.10.
@nonexhaustive
public enum Driver: String, Hashable, Sendable, CaseIterable {
    /// The builder inside Docker, with its classic image store.
    case docker
    /// The builder inside Docker, with the containerd image store.
    case dockerContainerd = "docker (containerd image store)"
    /// BuildKit in a container.
    case dockerContainer = "docker-container"
    /// BuildKit in pods.
    case kubernetes
    /// A BuildKit daemon that is run elsewhere.
    case remote

    /// Whether this driver can write to or read from a backend.
    public func supports(_ type: CacheSpec.BackendType, _ direction: CacheSpec.Direction) -> DriverSupport {
        if type == .inline, direction == .import {
            return .no(reason: "an inline cache is imported with type=registry and the name of its image")
        }
        switch (self, type, direction) {
        case (.dockerContainer, _, _), (.kubernetes, _, _), (.remote, _, _), (_, .inline, _): return .yes
        case (.docker, .registry, .import), (.docker, .local, .import): return .yes
        case (.docker, _, .export):
            return .no(reason: "cache export is not supported for the docker driver with the classic image store")
        case (.dockerContainerd, .registry, _), (.dockerContainerd, .local, _), (.dockerContainerd, .gha, _):
            return .yes
        default: return .no(reason: "type=\(type.rawValue) is not supported for the docker driver")
        }
    }

    /// Throws unless this driver supports the backend of the spec in its direction.
    ///
    /// - Throws: `CacheError` `.unsupported`, with what to do instead.
    public func check(_ spec: CacheSpec) throws(CacheError) {
        guard case .no(let reason) = supports(spec.type, spec.direction) else { return }
        var remedies = ["switch to the docker-container, kubernetes or remote driver"]
        if self == .docker, Driver.dockerContainerd.supports(spec.type, spec.direction) == .yes {
            remedies.append("turn on the containerd image store")
        }
        let remedy =
            spec.type == .inline
            ? "" : ": \(remedies.joined(separator: " or ")), see https://docs.docker.com/go/build-cache-backends/"
        throw CacheError(
            .unsupported, reason + remedy,
            context: CacheError.Context(
                backend: spec.type.rawValue, operation: spec.direction == .export ? "export" : "import"))
    }
}

/// The support of a driver for a backend.
@nonexhaustive
public enum DriverSupport: Hashable, Sendable {
    /// All of it.
    case yes
    /// Nothing.
    case no(reason: String)
}
