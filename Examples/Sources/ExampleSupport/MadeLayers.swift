public import BuildCacheClient
import NIOCore

extension CacheSession.ResultLayer {
    /// The files that a step made, kept in memory until an export asks for their tar.
    public static func files(_ files: [TarFile], by step: String) -> CacheSession.ResultLayer {
        let tar = Tar.write(files)
        return .tar(name: step) { BlobStream(ByteBuffer(bytes: tar)) }
    }
}
