public import BuildCacheBytes
public import BuildCacheCore
import BuildCacheInline
import BuildCacheLocal
public import BuildCacheSpec
public import BuildCacheTransfer

extension CacheSpec {
    /// The backend that the spec describes.
    ///
    /// Nothing is opened or contacted yet.
    ///
    /// - Parameter scratch: Where layers are converted. Give all backends of one build the same, and each layer is converted once.
    /// - Throws: ``/BuildCacheCore/CacheError`` `.invalidSpec` for options that cannot be, `.unsupported` for a backend that this version
    ///   does not have.
    public func makeBackend(scratch: ScratchStore) throws(CacheError) -> any CacheBackend {
        switch backend {
        case .local(let options):
            return try LocalCache(options, export: export ?? ExportOptions(), scratch: scratch)
        case .inline:
            return InlineCache(compression: (export ?? ExportOptions()).compression, scratch: scratch)
        case .registry, .gha, .s3, .azblob:
            throw CacheError(
                .unsupported,
                "this version reads and writes type=local only; use a local cache and copy it with a tool that speaks \(type.rawValue)",
                context: .init(backend: type.rawValue))
        }
    }
}
