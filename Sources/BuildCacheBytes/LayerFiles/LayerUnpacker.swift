public import BuildCacheCore
import NIOCore
import Synchronization

/// Applies layers to a directory, and touches nothing outside of it, whatever the layers hold and whatever the directory holds already.
///
/// The directory is treated as the root of a file system: symbolic links of the tree lead where they would lead in a container, `..` does
/// not lead above it, and the last component of a path is never followed.
///
///     let unpacker = LayerUnpacker()
///     try await unpacker.unpack(hit.layers, from: hit.blobs, to: "rootfs")
///
/// - Source: OCI image-spec `layer.md`; containerd `pkg/archive/tar.go`, which BuildKit uses.
public struct LayerUnpacker: Sendable {
    /// The choices of the caller.
    public var options: Options

    /// Creates an unpacker.
    public init(options: Options = Options()) { self.options = options }

    /// Makes a directory of layers; it appears when all of them are in it, or not at all.
    ///
    /// Each layer is verified against its digest and its diffID. Until then the tree stands beside the directory, as `.NAME.….partial`; an
    /// error and cancellation remove it, and the next call removes those of killed processes.
    ///
    /// - Parameters:
    ///   - layers: The layers, the lowest first. With ``Removals/overlay`` at most one: each layer has its directory then.
    ///   - blobs: The source of the layers.
    ///   - directory: The directory to make. The directory above must exist.
    ///   - replacing: Whether a directory of this name is replaced, in one step. Otherwise it is an error.
    ///   - progress: Called at most 20 times a second.
    /// - Returns: Counts, and the parts that were left out.
    /// - Throws: `CacheError` `.corrupted`, `.limitExceeded`, `.unsupported`, `.notFound` for layers that cannot be applied; `.occupied` if
    ///   the directory exists, `.busy` if another call is making it; `.denied`, `.storageFull`, `.unavailable` for what the file system
    ///   refuses; what `blobs` throws; `CancellationError`.
    @discardableResult
    public func unpack(
        _ layers: [Descriptor], from blobs: any BlobSource, to directory: String, replacing: Bool = false,
        progress: @escaping @Sendable (FilesProgress) -> Void = { _ in }
    ) async throws -> UnpackReport {
        try await publish(layers, to: directory, replacing, progress) { layer in
            try await VerifiedSource(blobs).open(layer, range: nil)
        }
    }

    /// Makes a directory of layers that were opened already, compressed or not; otherwise as
    /// ``unpack(_:from:to:replacing:progress:)``.
    ///
    /// Nothing says which bytes are expected: they are not verified.
    ///
    /// - Parameters:
    ///   - layers: The stored bytes of the layers, the lowest first: tars, gzip or zstd.
    ///   - directory: The directory to make. The directory above must exist.
    ///   - replacing: Whether a directory of this name is replaced, in one step.
    ///   - progress: Called at most 20 times a second.
    @discardableResult
    public func unpack(
        _ layers: [BlobStream], to directory: String, replacing: Bool = false,
        progress: @escaping @Sendable (FilesProgress) -> Void = { _ in }
    ) async throws -> UnpackReport {
        try await publish(layers, to: directory, replacing, progress) { $0 }
    }

    private func publish<Layer: UnpackableLayer>(
        _ layers: [Layer], to directory: String, _ replacing: Bool,
        _ progress: @escaping @Sendable (FilesProgress) -> Void, open: (Layer) async throws -> BlobStream
    ) async throws -> UnpackReport {
        guard options.removals != .overlay || layers.count <= 1 else {
            throw CacheError(
                .invalidSpec,
                "cannot unpack \(layers.count) layers to one directory for overlayfs: expected one directory for each layer"
            )
        }
        let partial = try await Workers.files.run { () throws(CacheError) in
            try PartialTree(for: directory, replacing: replacing)
        }
        do {
            var report = UnpackReport()
            for layer in layers {
                do {
                    let (size, type) = layer.stored
                    let tar = layer.verified(
                        try LayerDecoder(options.limits.decompression, stored: size)
                            .decode(try await open(layer), mediaType: type))
                    let maximum = options.limits.decompression.maximum(stored: size)
                    report.add(try await apply(tar, to: partial.root(), maximum, before: report, progress))
                } catch let error as CacheError {
                    throw error.adding(operation: "unpack", subject: layer.label ?? directory)
                }
            }
            let isDurable = options.isDurable
            try await Workers.files.run { () throws(CacheError) in try partial.publish(isDurable: isDurable) }
            return report
        } catch {
            await Workers.files.run { partial.remove() }
            throw error
        }
    }

    /// Applies the tar of one layer to a directory that exists.
    ///
    /// This is done in place: an error and cancellation leave a part of the layer behind. For all or nothing see
    /// ``unpack(_:from:to:replacing:progress:)``.
    ///
    /// - Parameters:
    ///   - tar: The uncompressed tar.
    ///   - directory: The directory.
    ///   - progress: Called at most 20 times a second.
    /// - Returns: Counts, and the parts that were left out.
    /// - Throws: As ``unpack(_:from:to:replacing:progress:)``; `CacheError` `.notFound` if the directory does not exist.
    @discardableResult
    public func apply(
        _ tar: BlobStream, onto directory: String, progress: @escaping @Sendable (FilesProgress) -> Void = { _ in }
    ) async throws -> UnpackReport {
        do {
            let root = try await Workers.files.run { () throws(CacheError) in try TreeDirectory(root: directory) }
            let maximum = options.limits.decompression.maximum(stored: tar.length ?? 0)
            return try await apply(tar, to: root, maximum, before: UnpackReport(), progress)
        } catch let error as CacheError {
            throw error.adding(operation: "unpack", subject: directory)
        }
    }

    private func apply(
        _ tar: BlobStream, to root: TreeDirectory, _ maximum: Int64, before: UnpackReport,
        _ progress: @escaping @Sendable (FilesProgress) -> Void
    ) async throws -> UnpackReport {
        let layer = LayerBeingApplied(LayerApplication(to: root, options, maximumBytes: maximum))
        var ticker = ProgressTicker(progress)
        do {
            var chunks = tar.makeAsyncIterator()
            var next = try await chunks.next()
            while let chunk = next {
                try Task.checkCancellation()
                // The next chunk is fetched, hashed and decompressed while this one is applied.
                async let applied = layer.take(chunk)
                do { next = try await chunks.next() } catch {
                    _ = try? await applied
                    throw error
                }
                let state = try await applied
                ticker.report(
                    FilesProgress(
                        entries: before.entries + state.entries, bytes: before.bytes + state.bytes, path: state.path))
            }
            return try await layer.finish()
        } catch {
            await layer.abandon()
            throw error
        }
    }
}

/// A layer while several tasks take turns at it.
private final class LayerBeingApplied: Sendable {
    private let application: Mutex<LayerApplication>

    init(_ application: LayerApplication) { self.application = Mutex(application) }

    func take(_ chunk: ByteBuffer) async throws -> FilesProgress {
        try await Workers.trees.run { () throws(CacheError) in
            try self.application.withLock { application throws(CacheError) in
                try application.take(chunk)
                return application.progress
            }
        }
    }

    func finish() async throws -> UnpackReport {
        try await Workers.trees.run { () throws(CacheError) in
            try self.application.withLock { application throws(CacheError) in try application.finish() }
        }
    }

    func abandon() async {
        await Workers.trees.run { self.application.withLock { $0.jobs.abandon() } }
    }
}

/// A layer that can be unpacked, as far as its bytes are known before they are read.
private protocol UnpackableLayer: Sendable {
    /// Stored bytes, and their type.
    var stored: (size: Int64, type: MediaType) { get }
    /// The layer's name in errors.
    var label: String? { get }
    /// The tar, checked against its promised digest.
    func verified(_ tar: BlobStream) -> BlobStream
}

extension Descriptor: UnpackableLayer {
    fileprivate var stored: (size: Int64, type: MediaType) { (size, mediaType) }
    fileprivate var label: String? { "\(digest)" }
    fileprivate func verified(_ tar: BlobStream) -> BlobStream { tar.verified(diffIDOf: self) }
}

extension BlobStream: UnpackableLayer {
    // Its compression is found out.
    fileprivate var stored: (size: Int64, type: MediaType) { (length ?? 0, .layer(.uncompressed)) }
    fileprivate var label: String? { nil }
    fileprivate func verified(_ tar: BlobStream) -> BlobStream { tar }
}
