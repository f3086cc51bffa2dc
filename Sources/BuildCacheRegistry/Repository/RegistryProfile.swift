/// The abilities of a registry, where it is known to differ from others.
///
/// Checked before anything is sent, so that an export that the registry would refuse fails at once.
public struct RegistryProfile: Hashable, Sendable {
    /// A way to upload large blobs.
    @nonexhaustive
    public enum Upload: Hashable, Sendable {
        /// In one request, which starts over when it breaks.
        case single
        /// In one request that a session belongs to, so that it can go on where it broke.
        case resumable
        /// In requests of so many bytes, 1 or more, where the size of a request is limited; a larger minimum of the registry wins.
        case chunks(Int64)
    }

    /// The way to upload large blobs first.
    ///
    /// Default ``Upload/resumable``. A registry that refuses it gets ``Upload/single``, and ``Upload/chunks(_:)`` of 16, 4 and 1 MiB where a
    /// request is too large.
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

    /// The profile that is known of a domain.
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
