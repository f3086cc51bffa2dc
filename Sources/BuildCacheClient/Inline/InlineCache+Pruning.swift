import BuildCacheCore

extension InlineCache: PrunableBackend {
    /// Not here: the cache is a part of an image, and goes with it.
    ///
    /// - Throws: `CacheError` `.unsupported`.
    public func openForPruning(isReadOnly: Bool) async throws -> any PrunableStore {
        throw CacheError(
            .unsupported, "an inline cache is a part of its image, and is removed with the image where that is stored",
            context: .init(backend: "inline", operation: "prune"))
    }
}
