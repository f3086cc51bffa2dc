/// Limits for decompressing a layer, so that a few bytes from outside fill neither a disk nor the memory.
public struct DecompressionLimit: Hashable, Sendable {
    /// Bytes that any layer may have uncompressed.
    ///
    /// Default 16 GiB.
    public var maximumBytes: Int64
    /// The factor by which a layer may exceed its stored size, beyond ``maximumBytes``.
    ///
    /// Default 200; the most that gzip can do is about a thousand, zstd does much more.
    public var maximumRatio: Int64
    /// Bytes of the window that a zstd frame may ask for, rounded down to a power of two between 1 KiB and 2 GiB.
    ///
    /// Default 512 MiB, as in BuildKit's reader; BuildKit and this package write at most 8 MiB, `zstd --long` 128 MiB. A reader holds as
    /// much of what it decompressed in memory, for each layer that is read at the same time; beyond 128 MiB no more than ``maximumRatio`` times
    /// the layer's stored size.
    public var maximumWindowBytes: Int64

    /// Creates limits; the larger one of `maximumBytes` and what `maximumRatio` allows counts.
    public init(
        maximumBytes: Int64 = 16 << 30, maximumRatio: Int64 = 200, maximumWindowBytes: Int64 = 512 << 20
    ) {
        self.maximumBytes = maximumBytes
        self.maximumRatio = maximumRatio
        self.maximumWindowBytes = maximumWindowBytes
    }

    /// Every layer may be as large as it is; ``maximumWindowBytes`` is the default.
    public static let none = DecompressionLimit(maximumBytes: .max)

    /// The most uncompressed bytes of a layer of this stored size.
    package func maximum(stored: Int64) -> Int64 {
        let (product, isTooLarge) = max(0, stored).multipliedReportingOverflow(by: max(0, maximumRatio))
        return max(maximumBytes, isTooLarge ? .max : product)
    }

    /// The most bytes that a zstd frame of a layer of this stored size may have in its window.
    func zstdMemory(stored: Int64) -> Int64 {
        max(128 << 20, DecompressionLimit(maximumBytes: 0, maximumRatio: maximumRatio).maximum(stored: stored))
    }

    /// The logarithm of ``maximumWindowBytes``, to base 2.
    var zstdWindowLog: Int32 {
        let log = Int64.bitWidth - 1 - max(1, maximumWindowBytes).leadingZeroBitCount
        return Int32(min(max(log, 10), 31))
    }
}
