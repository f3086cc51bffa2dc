import BuildCacheHTTP

/// The XML of a block list.
enum BlockListDocument {
    /// The blocks that a list names, in their order; `nil` if it is not a block list.
    static func read(_ bytes: [UInt8]) -> [(BlobStorage.Lookup, String)]? {
        guard let list = try? XMLNode.parse(bytes, "BlockList") else { return nil }
        let entries = list.children.map { block in BlobStorage.Lookup(rawValue: block.name).map { ($0, block.text) } }
        let blocks = entries.compactMap { $0 }
        return blocks.count == entries.count ? blocks : nil
    }
}
