public import BuildCacheCore
public import BuildCacheKeys

/// The digest, layers and settings of an image that a Dockerfile begins with or copies from.
public struct DockerfileImage: Sendable {
    /// The digest of what the name resolves to: the index of an image for several platforms.
    public var digest: Digest
    /// The layers for the platform, bottom first.
    public var diffIDs: [DiffID]
    /// The image's settings.
    public var settings: ImageSettings

    /// Makes a description of an image.
    public init(digest: Digest, diffIDs: [DiffID], settings: ImageSettings = ImageSettings()) {
        self.digest = digest
        self.diffIDs = diffIDs
        self.settings = settings
    }
}

/// The part of an image's config that steps and containers see.
public struct ImageSettings: Sendable {
    /// Variables, as in `PATH=/bin`.
    public var environment: [String] = []
    /// The working directory; empty for the root.
    public var workingDirectory = ""
    /// The user and perhaps the group.
    public var user = ""
    /// The shell of `RUN`; empty for `/bin/sh -c`.
    public var shell: [String] = []
    /// Instructions that run first in a stage that begins with the image.
    public var onBuild: [String] = []
    /// The program of a container and its arguments; `nil` if not set.
    public var entrypoint: [String]?, command: [String]?
    /// Labels, in the order in which they were set.
    public var labels: [LLB.Attribute] = []
    /// Ports, as in `80/tcp`.
    public var ports: [String] = []
    /// Directories of volumes.
    public var volumes: [String] = []
    /// The signal that ends a container; empty for the usual one.
    public var stopSignal = ""

    /// Empty settings.
    public init() {}
}

/// Finds the images of a Dockerfile.
public protocol DockerfileImages: Sendable {
    /// Looks up an image.
    ///
    /// - Parameters:
    ///   - name: The full name, as in `docker.io/library/alpine:3.20`.
    ///   - platform: The platform of the stage.
    /// - Throws: Any error, which ends the conversion.
    func image(named name: String, platform: LLB.Platform) async throws -> DockerfileImage
}

/// No images: for Dockerfiles whose stages begin with `scratch`.
public struct NoImages: DockerfileImages {
    /// Knows nothing.
    public init() {}

    /// Throws `CacheError` `.notFound`.
    public func image(named name: String, platform: LLB.Platform) async throws -> DockerfileImage {
        throw CacheError(.notFound, "the image \(name) is not available; give a source of images")
    }
}
