public import BuildCache
import NIOCore
import Synchronization

/// The layers that steps made, kept in memory until an export asks for them.
public final class MadeLayers: Sendable {
    private let tars = Mutex<[PendingLayer: [UInt8]]>([:])

    /// Nothing was made yet.
    public init() {}

    /// Keeps the files that a step made, as a layer that nobody has compressed yet.
    public func add(_ files: [TarFile], by step: String) -> CacheSession.ResultLayer {
        let layer = PendingLayer(name: step, createdAt: .now())
        tars.withLock { $0[layer] = Tar.write(files) }
        return .pending(layer)
    }

    /// What an export reads: these layers, and for the rest `blobs`.
    public func source(_ blobs: any BlobSource) -> LayerSource {
        LayerSource(blobs: blobs) { [self] layer in
            guard let tar = tars.withLock({ $0[layer] }) else {
                throw CacheError(.notFound, "no step made \(layer.name)")
            }
            return BlobStream(ByteBuffer(bytes: tar))
        }
    }
}
