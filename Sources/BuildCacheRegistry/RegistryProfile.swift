/// What a registry can do, where it is known to differ from others.
///
/// It is looked at before anything is sent, so that nobody uploads for an hour what is refused in the end.
public struct RegistryProfile: Hashable, Sendable {
    /// How large blobs are uploaded.
    public enum Upload: Hashable, Sendable {
        /// In one request, which starts over when it breaks.
        case single
        /// In one request that a session belongs to, so that it can go on where it broke.
        case resumable
        /// In requests of so many bytes, for what limits the size of one; a larger minimum of the registry wins.
        case chunks(Int64)
    }

    /// How large blobs are uploaded.
    ///
    /// Default ``Upload/resumable``; where that is refused, ``Upload/single``.
    public var upload: Upload
    /// Whether a cache may be an index of layers, as without `image-manifest=true`.
    ///
    /// Default `true`.
    public var acceptsIndexes: Bool
    /// Whether layers may be zstd.
    ///
    /// Default `true`.
    public var acceptsZstd: Bool

    /// Makes a profile; without arguments, that of a registry that does what the specification says.
    public init(upload: Upload = .resumable, acceptsIndexes: Bool = true, acceptsZstd: Bool = true) {
        self.upload = upload
        self.acceptsIndexes = acceptsIndexes
        self.acceptsZstd = acceptsZstd
    }

    /// What is known about a domain.
    public static func known(for domain: String) -> RegistryProfile {
        isElasticContainerRegistry(domain) ? RegistryProfile(acceptsIndexes: false) : RegistryProfile()
    }

    // MARK: Quirks

    /// Amazon's ECR checks that an index leads to image manifests; that of a cache leads to layers.
    ///
    /// - Source: AWS, "Announcing remote cache support in Amazon ECR for BuildKit clients".
    private static func isElasticContainerRegistry(_ domain: String) -> Bool {
        let isAmazon = domain.hasSuffix(".amazonaws.com") || domain.hasSuffix(".amazonaws.com.cn")
        return isAmazon && domain.contains(".dkr.ecr")
    }
}
