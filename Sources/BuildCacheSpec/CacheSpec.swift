public import BuildCacheCore

/// One `--cache-to` or `--cache-from`: a backend, its place and its options.
///
/// Parse it from text with ``parse(_:for:environment:leniency:dialect:onIgnored:)``, or make it directly:
///
///     CacheSpec(exportingTo: .local(LocalOptions(dest: "cache")), ExportOptions(mode: .max))
///     CacheSpec(importingFrom: .registry(RegistryOptions(ref: try Reference("user/app:cache"))))
///
/// Secrets in it never print; see ``description`` and ``textExposingSecrets()``.
public struct CacheSpec: Hashable, Sendable {
    /// Whether a cache is written or read.
    public enum Direction: Hashable, Sendable, CaseIterable {
        /// `--cache-to`.
        case export
        /// `--cache-from`.
        case `import`

        /// The option of `docker buildx build`, without its dashes.
        var flag: String { self == .export ? "cache-to" : "cache-from" }
    }

    /// The kinds of backends, by the text of `type=`.
    @nonexhaustive
    public enum BackendType: String, Hashable, Sendable, CaseIterable {
        /// In the config of the image that is built.
        case inline
        /// An image of its own in a registry.
        case registry
        /// An OCI layout in a directory.
        case local
        /// The cache service of GitHub Actions.
        case gha
        /// A bucket of Amazon S3 or of a compatible service.
        case s3
        /// A container of Azure Blob Storage.
        case azblob
    }

    /// A backend with its options.
    @nonexhaustive
    public enum Backend: Hashable, Sendable {
        /// In the config of the image that is built. Written only: `registry`, with the image's name, reads it.
        case inline
        /// An image of its own in a registry.
        case registry(RegistryOptions)
        /// An OCI layout in a directory.
        case local(LocalOptions)
        /// The cache service of GitHub Actions.
        case gha(GitHubActionsOptions)
        /// A bucket of Amazon S3 or of a compatible service.
        case s3(S3Options)
        /// A container of Azure Blob Storage.
        case azblob(AzureBlobOptions)

        /// Which backend it is.
        public var type: BackendType {
            switch self {
            case .inline: .inline
            case .registry: .registry
            case .local: .local
            case .gha: .gha
            case .s3: .s3
            case .azblob: .azblob
            }
        }

        /// The options of the backend; `inline` has none of its own.
        var options: (any OptionTable)? {
            switch self {
            case .inline: nil
            case .registry(let options): options
            case .local(let options): options
            case .gha(let options): options
            case .s3(let options): options
            case .azblob(let options): options
            }
        }
    }

    /// The backend with its options.
    public var backend: Backend
    /// How to export, in a `cache-to`; `nil` in a `cache-from`.
    public var export: ExportOptions?

    /// A cache to write.
    public init(exportingTo backend: Backend, _ options: ExportOptions = ExportOptions()) {
        self.backend = backend
        export = options
    }

    /// A cache to read.
    public init(importingFrom backend: Backend) {
        self.backend = backend
        export = nil
    }

    /// Which backend it is.
    public var type: BackendType { backend.type }
    /// Whether the cache is written or read.
    public var direction: Direction { export == nil ? .import : .export }
}
