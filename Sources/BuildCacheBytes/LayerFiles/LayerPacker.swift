public import BuildCacheCore
public import NIOCore
import Synchronization

/// Makes the tar of a layer from a directory, or from the differences of a directory to another one.
///
/// The tar is a pure function of the trees and the options, and has the bytes that BuildKit makes of them: the same diffID.
///
///     let packer = LayerPacker(.directory("out"))
///     let layer = try await packer.write(to: "layer.tar")
///
/// - Source: containerd `pkg/archive/tar.go`, continuity `fs/diff.go`, BuildKit `util/overlay/overlay_linux.go`.
public struct LayerPacker: Sendable {
    /// The trees that a layer is made of.
    @nonexhaustive
    public enum Tree: Hashable, Sendable {
        /// Everything in a directory.
        case directory(String)
        /// The differences of a directory to its base; names that are gone become removals.
        case difference(of: String, from: String)
        /// The upper directory of an overlay; the base is the directory or the mount below it, `nil` for none.
        case overlay(upper: String, base: String?)
    }

    /// The trees.
    public var tree: Tree
    /// The choices of the caller.
    public var options: Options
    // The digest of the first reading, which every later one must have too.
    private let measured = Measured()

    /// Creates a packer; nothing is opened yet.
    public init(_ tree: Tree, options: Options = Options()) {
        self.tree = tree
        self.options = options
    }

    /// Opens the tar, which is made while it is read: the same bytes each time.
    ///
    /// The files must not change meanwhile. The length is unknown until the end; memory stays below 64 MiB.
    ///
    /// - Parameter progress: Called at most 20 times a second.
    /// - Returns: The tar. While reading it throws `CacheError` `.busy` if a file changes, `.denied` for one that cannot be read,
    ///   `.invalidSpec` for a name that means a removal, and `.corrupted` at the end if the bytes are not those of an earlier reading.
    /// - Throws: `CacheError` `.notFound`, `.denied`.
    public func open(progress: @escaping @Sendable (FilesProgress) -> Void = { _ in }) async throws -> BlobStream {
        let pipeline = try await pipeline()
        let measured = measured
        return BlobStream(length: nil) {
            let stream = PackStream(pipeline)
            let digest = StreamDigest()
            var ticker = ProgressTicker(progress)
            var isAtEnd = false
            return {
                guard !isAtEnd else { return nil }
                guard let chunk = try await stream.next() else {
                    isAtEnd = true
                    try measured.check(digest.finish())
                    return nil
                }
                await digest.update(chunk)
                ticker.report(pipeline.state(bytes: digest.size))
                return chunk
            }
        }
    }

    /// Makes the tar and gives its bytes, in order, to `write`.
    ///
    /// - Parameters:
    ///   - progress: Called at most 20 times a second.
    ///   - write: Gets chunks of up to 1 MiB.
    /// - Returns: The tar's diffID, size and entries, and the parts of the tree that were left out.
    /// - Throws: As ``open(progress:)``; what `write` throws; `CancellationError`.
    @discardableResult
    public func pack(
        progress: @escaping @Sendable (FilesProgress) -> Void = { _ in },
        to write: (ByteBuffer) async throws -> Void
    ) async throws -> PackedLayer {
        let pipeline = try await pipeline()
        let stream = PackStream(pipeline)
        let digest = StreamDigest()
        var ticker = ProgressTicker(progress)
        var next = try await stream.next()
        while let chunk = next {
            // The digest takes as long as reading and writing: all three at once.
            async let hashed: Void = digest.update(chunk)
            async let following = stream.next()
            try await write(chunk)
            await hashed
            ticker.report(pipeline.state(bytes: digest.size))
            next = try await following
        }
        let value = digest.finish()
        try measured.check(value)
        let (notes, count) = pipeline.skipped.all
        return PackedLayer(
            diffID: DiffID(value.digest), size: value.size, entries: pipeline.progress.entries, skipped: notes,
            skippedCount: count)
    }

    /// Makes the tar and writes it to a file, which appears when it is complete.
    ///
    /// - Parameters:
    ///   - path: The file; one that exists is replaced.
    ///   - progress: Called at most 20 times a second.
    /// - Returns: As ``pack(progress:to:)``.
    /// - Throws: As ``pack(progress:to:)``; `CacheError` `.denied`, `.storageFull` for the file.
    @discardableResult
    public func write(
        to path: String, progress: @escaping @Sendable (FilesProgress) -> Void = { _ in }
    ) async throws -> PackedLayer {
        let cut = path.utf8.lastIndex(of: UInt8(ascii: "/"))
        let directory = cut.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        return try await writeAtomically(in: directory, synchronized: false) { file in
            (path, try await pack(progress: progress) { try await file.write($0) })
        }
    }

    /// The diffID of the tar, which is made and thrown away for it.
    ///
    /// - Throws: As ``open(progress:)``.
    public func diffID() async throws -> DiffID { try await pack { _ in }.diffID }

    private func pipeline() async throws -> PackPipeline {
        let (tree, options) = (tree, options)
        return try await Workers.files.run { () throws(CacheError) in try PackPipeline(tree, options) }
    }
}

/// A tar that was made of a tree.
public struct PackedLayer: Hashable, Sendable {
    /// The digest of the tar.
    public var diffID: DiffID
    /// Bytes of the tar.
    public var size: Int64
    /// Entries of the tar, removals among them.
    public var entries: Int64
    /// The parts of the tree that were left out, the first 1000 of them.
    public var skipped: [UnpackReport.Skipped]
    /// The number of parts that were left out.
    public var skippedCount: Int64
}

extension PackPipeline {
    fileprivate func state(bytes: Int64) -> FilesProgress {
        let (entries, path) = progress
        return FilesProgress(entries: entries, bytes: bytes, path: String(decoding: path, as: UTF8.self))
    }
}

/// The digest of the first reading of a tree.
private final class Measured: Sendable {
    private let value = Mutex<StreamDigest.Value?>(nil)

    func check(_ new: StreamDigest.Value) throws(CacheError) {
        let old = value.withLock { value in
            value = value ?? new
            return value
        }
        guard old == new else {
            throw CacheError(
                .corrupted,
                "the tree changed after it was packed the first time: its tar had the digest \(old?.digest.description ?? "") and has \(new.digest) now"
            )
        }
    }
}

extension PendingLayer {
    /// Creates a layer of a tree, packed when an export asks for it.
    ///
    /// The tree must stay as it is until it was exported: a tree that changed is noticed, and the result left out.
    ///
    /// - Parameters:
    ///   - name: A label for messages and progress.
    ///   - packer: The packer of the tree.
    public init(name: String = "layer", packing packer: LayerPacker) {
        self.init(name: name) { try await packer.open() }
    }
}
