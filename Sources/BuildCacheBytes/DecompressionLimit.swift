/// How many bytes a layer may be uncompressed, so that a few bytes of a stranger's cannot fill a disk.
public struct DecompressionLimit: Hashable, Sendable {
    /// Bytes that any layer may have.
    ///
    /// Default 16 GiB.
    public var bytes: Int64
    /// How many times its stored size a layer may have beyond ``bytes``.
    ///
    /// Default 200; the most that gzip can do is about a thousand, zstd does much more.
    public var ratio: Int64

    /// Makes a limit; the larger one of both counts.
    public init(bytes: Int64 = 16 << 30, ratio: Int64 = 200) {
        self.bytes = bytes
        self.ratio = ratio
    }

    /// Every layer may be as large as it is.
    public static let none = DecompressionLimit(bytes: .max)

    /// The most bytes of a layer of this stored size.
    package func maximum(stored: Int64) -> Int64 {
        let (product, isTooLarge) = stored.multipliedReportingOverflow(by: ratio)
        return max(bytes, isTooLarge ? .max : product)
    }
}
