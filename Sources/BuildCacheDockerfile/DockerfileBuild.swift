public import BuildCacheCore
public import BuildCacheKeys

/// A Dockerfile as a build: the operations that BuildKit's client would send, and where each comes from.
public struct DockerfileBuild: Sendable {
    /// The origin of an operation.
    public struct Step: Sendable {
        /// The line of the instruction, counted from 1.
        public var line: Int
        /// The instruction as it is written.
        public var text: String
        /// The name of the stage, as in `base` or `stage-1`.
        public var stage: String
    }

    /// The operations.
    public var definition: LLB.Definition
    /// The settings of the resulting image.
    public var settings: ImageSettings
    /// The platform of the result.
    public var platform: LLB.Platform
    /// The images, by identifier and platform of their sources.
    var images: [String: DockerfileImage] = [:]
    var steps: [Digest: [Step]] = [:]

    /// The origins of an operation; equal instructions of several stages are one operation.
    public func steps(of vertex: Digest) -> [Step] { steps[vertex] ?? [] }

    /// The keys of a source of this build: of its context, or of one of its images.
    ///
    /// - Throws: `CacheError` `.notFound` for a source of another build.
    public func keys(of source: LLB.SourceOp, platform: LLB.Platform) throws(CacheError) -> SourceKeys {
        if source.identifier.utf8.starts(with: "local://".utf8) { return .local }
        guard let image = images[DockerfileBuild.key(source.identifier, platform)] else {
            throw CacheError(.notFound, "the source \(source.identifier.quoted) is not one of the Dockerfile's")
        }
        return SourceKeys(image: image.digest, diffIDs: image.diffIDs, platform: platform)
    }

    static func key(_ identifier: String, _ platform: LLB.Platform) -> String {
        "\(identifier) \(platform.normalized.text)"
    }
}
