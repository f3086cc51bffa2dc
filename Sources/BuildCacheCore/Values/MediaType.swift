/// What some bytes are, as in `application/vnd.oci.image.manifest.v1+json`.
///
/// Any text is a media type; the known ones have names here and a meaning for layers in ``layer``. Two are equal if their bytes are.
public struct MediaType: Hashable, Sendable, CustomStringConvertible, ExpressibleByStringLiteral {
    /// The text.
    public let text: String
    /// Takes `text` as it is.
    public init(_ text: String) { self.text = text }
    /// Takes the literal as it is.
    public init(stringLiteral text: String) { self.text = text }
    /// The text.
    public var description: String { text }

    /// Compares the bytes of the text.
    public static func == (left: MediaType, right: MediaType) -> Bool { ExactText(left.text) == ExactText(right.text) }

    /// Hashes the bytes of the text.
    public func hash(into hasher: inout Hasher) { ExactText(text).hash(into: &hasher) }

    /// BuildKit's cache config: records, links and layers.
    public static let cacheConfig: MediaType = "application/vnd.buildkit.cacheconfig.v0"
    /// An OCI image manifest.
    public static let ociManifest: MediaType = "application/vnd.oci.image.manifest.v1+json"
    /// An OCI image index.
    public static let ociIndex: MediaType = "application/vnd.oci.image.index.v1+json"
    /// An OCI image config.
    public static let ociConfig: MediaType = "application/vnd.oci.image.config.v1+json"
    /// A Docker image manifest, schema 2.
    public static let dockerManifest: MediaType = "application/vnd.docker.distribution.manifest.v2+json"
    /// A Docker manifest list.
    public static let dockerManifestList: MediaType = "application/vnd.docker.distribution.manifest.list.v2+json"
    /// A Docker image config.
    public static let dockerConfig: MediaType = "application/vnd.docker.container.image.v1+json"
}

/// How the bytes of a layer are compressed, and what `compression=` asks for.
///
/// - Source: `Documentation/Spec/compression.md` §1.
@nonexhaustive
public enum Compression: String, Hashable, Sendable, CaseIterable {
    /// A plain tar.
    case uncompressed
    /// Gzip, the default.
    case gzip
    /// Gzip with a table of contents, so that single files can be fetched. Shares gzip's media type.
    case estargz
    /// Zstandard.
    case zstd
}

extension MediaType {
    /// What a layer's media type says; `nil` for what is no known layer type.
    ///
    /// - Source: `Documentation/Spec/compression.md` §4.
    public struct Layer: Hashable, Sendable {
        /// `uncompressed`, `gzip` or `zstd`: eStargz cannot be told by its type.
        public var compression: Compression
        /// Docker's name instead of OCI's.
        public var isDocker: Bool
        /// Foreign or non-distributable: a licence forbids pushing it, BuildKit caches it all the same.
        public var isForeign: Bool
    }

    private static let layers: [MediaType: Layer] = {
        var layers: [MediaType: Layer] = [:]
        for (compression, oci, docker) in [
            (Compression.uncompressed, "", ""), (.gzip, "+gzip", ".gzip"), (.zstd, "+zstd", ".zstd"),
        ] {
            let ociTypes: [(String, Bool)] = [("", false), ("nondistributable.", true)]
            for (prefix, foreign) in ociTypes {
                layers[MediaType("application/vnd.oci.image.layer.\(prefix)v1.tar\(oci)")] =
                    Layer(compression: compression, isDocker: false, isForeign: foreign)
            }
            // Docker has no name for a foreign zstd layer.
            let dockerTypes = compression == .zstd ? [("", false)] : [("", false), ("foreign.", true)]
            for (prefix, foreign) in dockerTypes {
                layers[MediaType("application/vnd.docker.image.rootfs.\(prefix)diff.tar\(docker)")] =
                    Layer(compression: compression, isDocker: true, isForeign: foreign)
            }
        }
        return layers
    }()

    /// What this says of a layer, or `nil` when it names no layer.
    public var layer: Layer? { MediaType.layers[self] }

    /// The media type of a layer compressed so, in OCI's or Docker's words.
    public static func layer(_ compression: Compression, docker: Bool = false) -> MediaType {
        switch (compression, docker) {
        case (.uncompressed, false): "application/vnd.oci.image.layer.v1.tar"
        case (.gzip, false), (.estargz, false): "application/vnd.oci.image.layer.v1.tar+gzip"
        case (.zstd, false): "application/vnd.oci.image.layer.v1.tar+zstd"
        case (.uncompressed, true): "application/vnd.docker.image.rootfs.diff.tar"
        case (.gzip, true), (.estargz, true): "application/vnd.docker.image.rootfs.diff.tar.gzip"
        case (.zstd, true): "application/vnd.docker.image.rootfs.diff.tar.zstd"
        }
    }

    /// This layer type in OCI's or Docker's words, made distributable as BuildKit does for caches; other types stay.
    public func asLayer(docker: Bool) -> MediaType {
        guard let layer else { return self }
        return .layer(layer.compression, docker: docker)
    }
}
