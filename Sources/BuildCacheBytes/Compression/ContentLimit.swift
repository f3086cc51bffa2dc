/// Limits on what the headers of a tar, and the table of contents of an eStargz layer, may hold.
///
/// Layers of images stay far below them. They keep the memory of a reader and of a writer in proportion to the layer, whatever it
/// holds; past them comes `CacheError` `.limitExceeded`.
enum ContentLimit {
    /// Bytes of a path, of a link's target, and of the name of a user or a group.
    ///
    /// Linux takes paths of 4 KiB, Windows of 32 767 characters.
    static let nameBytes = 32 << 10
    /// Bytes of one PAX header or one long name of GNU: Go's limit.
    static let headerBytes = 1 << 20
    /// Records of one PAX header.
    ///
    /// A file on Linux has room for some hundred extended attributes.
    static let headerRecords = 1 << 10
    /// Entries of a layer, and the chunks of its files beyond the first of each.
    static let entries = 1 << 20
    /// Bytes of a chunk, and of what may lie before it in its gzip member: it cannot be verified without being held.
    static let chunkBytes: Int64 = 64 << 20

    /// Bytes of the table of contents of a layer with this many stored bytes: 16 times as many, but 32 MiB at least and 256 MiB at most.
    ///
    /// A file takes 200 to 500 bytes in the table and, if it is not empty, more than a 16th of that in the layer.
    static func tocBytes(stored: Int64) -> Int {
        let (product, isTooLarge) = stored.multipliedReportingOverflow(by: 16)
        return Int(min(max(isTooLarge ? .max : product, 32 << 20), 256 << 20))
    }
}
