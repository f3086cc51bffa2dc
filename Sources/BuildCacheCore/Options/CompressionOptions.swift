/// What an exporter is asked to do with layers: `compression`, `compression-level` and `force-compression`.
///
/// - Source: `Documentation/Spec/compression.md` §2 and §3.
public struct CompressionOptions: Hashable, Sendable {
    /// The compression of layers that are made now, and with ``force`` of all.
    ///
    /// Default `gzip`.
    public var type: Compression
    /// The level, `nil` for the compressor's default.
    ///
    /// gzip and estargz: -2 to 9, where -1 is 6 and -2 encodes without looking for repetitions. zstd: any; 1 to 22 and below 0 are
    /// libzstd's, 0 is 3, and what lies beyond counts as the nearest. BuildKit has four zstd encoders and takes everything below 3 as
    /// its fastest, 3 to 5 as its default, 6 to 9 as its better and 10 or more as its best one.
    public var level: Int?
    /// Converts stored layers of another type too.
    ///
    /// A layer that already has the type stays, whatever its level.
    public var force: Bool

    /// Makes options; without arguments, BuildKit's defaults.
    public init(type: Compression = .gzip, level: Int? = nil, force: Bool = false) {
        self.type = type
        self.level = level
        self.force = force
    }
}
