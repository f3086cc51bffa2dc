public import BuildCacheCore
import NIOCore
import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// A directory of converted and fetched layers: each conversion is done once, whatever asks for it and however often.
///
/// Layers lie in `blobs/sha256/`, named by digest, and appear there only when they are complete. Beside them, in
/// `conversions/`, one small note per conversion says which blob it made of which, so that a later process finds it again.
/// Several processes of one user may use one directory at the same time. Only that user can read or write it.
///
/// A layer that already has the form that is asked for is not copied here. Nothing is ever deleted but by ``remove()``.
public struct ScratchStore: Sendable {
    private let directory: String
    let blobs: FileBlobSource
    // Only what must survive a power cut is worth waiting for the disk.
    let isLasting: Bool
    private let work = SharedWork<Request, Conversion>()
    /// Blobs whose bytes this process has written or hashed; what an earlier process left may have been damaged since.
    let sound = DigestSet()
    /// Held while a temporary store lives, so that the next one can tell what a killed process left behind.
    private let lock: ScratchLock?

    /// How large layers may be that are converted.
    ///
    /// Default as ``DecompressionLimit/init(bytes:ratio:)``.
    public var decompressionLimit = DecompressionLimit()

    /// Conversions that are the same.
    ///
    /// Each case fixes the bytes: by a digest, or by the one pending layer that has the recipe.
    private enum Request: Hashable, Sendable {
        case stored(StreamDigest.Value, diffID: DiffID?, isRaw: Bool, encoder: String)
        case pending(PendingLayer, encoder: String)
    }

    // MARK: Making and removing

    /// Opens the store in `directory`, which is made if need be, for this user alone.
    ///
    /// - Throws: `CacheError` `.denied`, also for a directory that belongs to another user or that others can write: the notes in there are
    ///   trusted. `.storageFull`, `.unavailable`.
    public static func open(at directory: String) async throws -> ScratchStore {
        try await Workers.files.run { () throws(CacheError) in try ScratchStore(directory, lock: nil) }
    }

    /// Gives `body` a store in a new temporary directory, which is removed with all it holds when `body` returns or throws.
    ///
    /// Directories that killed processes of this user left in `parent` are removed first.
    ///
    /// - Parameters:
    ///   - parent: Where to make the directory. Default is `TMPDIR` of the environment, then `/var/tmp`: other
    ///     than `/tmp` that is never memory, and layers may be large.
    ///   - body: Uses the store; its value is returned.
    public static func withTemporary<Value>(
        in parent: String? = nil, _ body: (ScratchStore) async throws -> Value
    ) async throws -> Value {
        let store = try await Workers.files.run { () throws(CacheError) in
            let parent = parent ?? getenv("TMPDIR").map { String(cString: $0) } ?? "/var/tmp"
            let (directory, lock) = try ScratchDirectory.makeTemporary(in: parent)
            return try ScratchStore(directory, lock: lock)
        }
        do {
            let value = try await body(store)
            await store.remove()
            return value
        } catch {
            await store.remove()
            throw error
        }
    }

    private init(_ directory: String, lock: ScratchLock?) throws(CacheError) {
        self.directory = directory
        self.lock = lock
        isLasting = lock == nil
        blobs = FileBlobSource(directory: "\(directory)/blobs/sha256")
        // Layers hold what only their owner may read, and whatever writes a note here decides what is exported.
        try makeDirectory(directory, permissions: 0o700)
        try ScratchDirectory.checkOwner(of: directory)
        try makeDirectory(blobs.directory, permissions: 0o700)
        try makeDirectory("\(directory)/conversions", permissions: 0o700)
    }

    /// Removes all layers and notes, and the directory unless something else is in it.
    public func remove() async {
        await Workers.files.run { ScratchDirectory.remove(directory) }
    }

    // MARK: Layers

    /// A stored layer as `options` want it: itself if it is so already or `force` is off, else converted.
    ///
    /// The bytes of a layer that is converted are verified against `descriptor`, its diffID too if there is one. Requests
    /// for the same conversion share it, and the source of the one who asked first. If the last of them is cancelled, the
    /// conversion stops within one chunk and leaves no file behind.
    ///
    /// - Throws: `CacheError` `.corrupted` if the bytes are not those of `descriptor` or are damaged, `.invalidSpec` for a
    ///   level that does not exist, `.unsupported` for a layer of an unknown type, `.limitExceeded` past ``decompressionLimit``,
    ///   `.storageFull`, `.denied`; what `source` throws; `CancellationError`.
    /// - Source: `Documentation/Spec/compression.md` §3.
    public func layer(
        from descriptor: Descriptor, in source: any BlobSource, to options: CompressionOptions
    ) async throws -> StoredLayer {
        do {
            let encoder = try LayerEncoder(options)
            guard options.force,
                let form = try await StoredForm(
                    of: descriptor, in: source, wanted: options.type, limit: decompressionLimit)
            else {
                return StoredLayer(descriptor: descriptor, source: source)
            }
            let request = Request.stored(
                StreamDigest.Value(digest: descriptor.digest, size: descriptor.size), diffID: descriptor.diffID,
                isRaw: form == .tar, encoder: encoder.name)
            let conversion = try await work.value(for: request) {
                try await convert(descriptor, form, in: source, with: encoder)
            }
            return storedLayer(
                conversion, options.type, annotations: conversion.annotations(replacing: descriptor.annotations))
        } catch let error as CacheError {
            throw error.adding(operation: "convert", subject: "\(descriptor.digest)")
        }
    }

    /// The layer of a tar that was never stored, as `options` want it.
    ///
    /// Its tar is opened once for all that ask for this layer at the same time, and again for a later request.
    ///
    /// - Parameters:
    ///   - pending: The layer.
    ///   - createdAt: When it was made, for the annotation `buildkit/createdat`. Without one, BuildKit takes the time at which it reads the
    ///     layer, so that no two images of one cache are equal.
    ///   - options: How to compress it.
    ///   - tar: Opens the tar; default the recipe of the layer.
    /// - Throws: As ``layer(from:in:to:)``, and what `tar` throws.
    package func layer(
        pending: PendingLayer, createdAt: Timestamp?, to options: CompressionOptions,
        tar: (@Sendable () async throws -> BlobStream)? = nil
    ) async throws -> StoredLayer {
        do {
            let encoder = try LayerEncoder(options)
            let conversion = try await work.value(for: .pending(pending, encoder: encoder.name)) {
                try await store { file in
                    let tar = if let tar { try await tar() } else { try await pending.openTar() }
                    let encoded = try await encoder.encode(tar) { try await file.write($0) }
                    return Conversion(source: encoded.tar, sourceDiffID: DiffID(encoded.tar.digest), encoded: encoded)
                }
            }
            var annotations = conversion.annotations(replacing: [:])
            annotations[Annotation.createdAt] = createdAt?.description
            return storedLayer(conversion, options.type, annotations: annotations)
        } catch let error as CacheError {
            throw error.adding(operation: "convert", subject: pending.name)
        }
    }

    private func storedLayer(_ conversion: Conversion, _ type: Compression, annotations: [String: String])
        -> StoredLayer
    {
        let stored = conversion.encoded.stored
        return StoredLayer(
            descriptor: Descriptor(
                mediaType: .layer(type), digest: stored.digest, size: stored.size, annotations: annotations),
            source: ScratchSource(blobs: blobs))
    }

    // MARK: Converting

    private func convert(
        _ descriptor: Descriptor, _ form: StoredForm, in source: any BlobSource, with encoder: LayerEncoder
    ) async throws -> Conversion {
        let notePath = "\(directory)/conversions/\(noteName(descriptor.digest, form, encoder))"
        if let known = await remembered(at: notePath), known.source.digest == descriptor.digest {
            try check(known, against: descriptor)
            return known
        }
        let conversion = try await store { file in
            let conversion = try await encode(descriptor, form, in: source, with: encoder, to: file)
            try check(conversion, against: descriptor)
            return conversion
        }
        try await writeAtomically(in: "\(directory)/conversions", permissions: 0o600, synchronized: isLasting) { file in
            try await file.write(ByteBuffer(string: conversion.note))
            return (notePath, ())
        }
        return conversion
    }

    private func encode(
        _ descriptor: Descriptor, _ form: StoredForm, in source: any BlobSource, with encoder: LayerEncoder,
        to file: AtomicFile
    ) async throws -> Conversion {
        let whole = StreamDigest()
        let decoder = LayerDecoder(decompressionLimit, stored: descriptor.size)
        let tar: BlobStream
        switch form {
        case .tar:
            // The encoder computes its digest anyway.
            tar = try await source.open(descriptor, range: nil).limited(to: descriptor)
        case .compressed:
            let stored = try await VerifiedSource(source).open(descriptor, range: nil)
            tar = try decoder.decode(stored, mediaType: descriptor.mediaType)
        case .estargz(let toc):
            let stored = try await VerifiedSource(source).open(descriptor, range: nil)
            tar = decoder.decode(stored, upToTOC: toc, whole: whole)
        }
        let encoded = try await encoder.encode(tar) { try await file.write($0) }
        if form == .tar { try encoded.tar.check(against: descriptor) }
        let diffID = if case .estargz = form { whole.finish().digest } else { encoded.tar.digest }
        return Conversion(
            source: StreamDigest.Value(digest: descriptor.digest, size: descriptor.size), sourceDiffID: DiffID(diffID),
            encoded: encoded)
    }

    /// Writes a blob and names it by its digest.
    private func store(
        _ convert: (AtomicFile) async throws -> Conversion
    ) async throws -> Conversion {
        let conversion = try await writeAtomically(
            in: blobs.directory, permissions: 0o600, synchronized: isLasting
        ) { file in
            let conversion = try await convert(file)
            return (blobs.path(of: conversion.encoded.stored.digest), conversion)
        }
        sound.insert(conversion.encoded.stored.digest)
        return conversion
    }

    /// Whether a blob is here whole; one that this process did not write is hashed once.
    func holds(_ blob: StreamDigest.Value) async -> Bool {
        let size = await Workers.files.run { (try? OpenFile(reading: blobs.path(of: blob.digest)))?.size }
        guard size == blob.size else { return false }
        if sound.contains(blob.digest) { return true }
        let descriptor = Descriptor(mediaType: "", digest: blob.digest, size: blob.size)
        do {
            for try await _ in try await VerifiedSource(blobs).open(descriptor, range: nil) {}
        } catch {
            return false
        }
        sound.insert(blob.digest)
        return true
    }

    private func check(_ conversion: Conversion, against descriptor: Descriptor) throws(CacheError) {
        guard conversion.source.size == descriptor.size else {
            throw CacheError(.corrupted, "the blob has \(conversion.source.size) bytes instead of \(descriptor.size)")
        }
        if let expected = descriptor.diffID, expected != conversion.sourceDiffID {
            throw CacheError(
                .corrupted, "the layer's diffID is \(conversion.sourceDiffID), its descriptor says \(expected)")
        }
    }

    // MARK: Remembering

    private func noteName(_ source: Digest, _ form: StoredForm, _ encoder: LayerEncoder) -> String {
        Digest(of: "\(source)\n\(form == .tar ? "as it is" : "decompressed")\n\(encoder.name)".utf8).hex
    }

    /// The conversion noted at `path`, if its blob is there whole.
    private func remembered(at path: String) async -> Conversion? {
        let note = await Workers.files.run { () -> Conversion? in
            guard let file = try? OpenFile(reading: path), file.size < 4096, let bytes = try? file.read(0..<file.size)
            else { return nil }
            return Conversion(note: String(buffer: bytes))
        }
        guard let note, await holds(note.encoded.stored) else { return nil }
        return note
    }
}

/// Digests that are shared by all copies of a store.
final class DigestSet: Sendable {
    private let digests = Mutex<Set<Digest>>([])
    func contains(_ digest: Digest) -> Bool { digests.withLock { $0.contains(digest) } }
    func insert(_ digest: Digest) { digests.withLock { _ = $0.insert(digest) } }
}

/// What a store has converted, as long as the store is there.
private struct ScratchSource: BlobSource {
    let blobs: FileBlobSource

    func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        do { return try await blobs.open(descriptor, range: range) } catch var error as CacheError {
            // The layer is not lost: it can be converted again.
            if error.code == .notFound {
                error.code = .unavailable
                error.message += "; the scratch directory must stay until all that it converts is stored"
            }
            throw error
        }
    }
}

/// A layer as a backend is to store it, and where its bytes are.
public struct StoredLayer: Sendable {
    /// The layer, in OCI's media types if it was converted.
    public var descriptor: Descriptor
    /// Where ``descriptor`` can be opened; a ``ScratchStore`` has it until it is removed.
    public var source: any BlobSource
}

/// The form in which a layer that must be converted is stored now.
enum StoredForm: Hashable, Sendable {
    case tar, compressed
    case estargz(toc: Int64)

    /// Looks at a layer; `nil` if it satisfies `wanted` as it is, or is not a layer.
    ///
    /// A layer of a compressed type is what its type says. One of an uncompressed type is looked at: if it is gzip or zstd, it is to be
    /// decompressed first, or it would be compressed twice.
    ///
    /// - Throws: `CacheError` `.unsupported` for an unknown type of layers, `.limitExceeded` for a table of contents past `limit` or
    ///   ``ContentLimit``; what `source` throws.
    /// - Source: `Documentation/Spec/compression.md` §3 `NeedsConversion`. BuildKit takes a layer that was not downloaded yet for plain
    ///   gzip; here its end is looked at wherever it is.
    init?(
        of descriptor: Descriptor, in source: any BlobSource, wanted: Compression, limit: DecompressionLimit
    ) async throws {
        guard let layer = descriptor.mediaType.layer else {
            let layerTypes = ["application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs."]
            guard layerTypes.contains(where: { descriptor.mediaType.text.hasPrefix($0) }) else { return nil }
            throw CacheError(
                .unsupported,
                "layers of type \(descriptor.mediaType.text.quoted) cannot be converted (turn force-compression off)")
        }
        if layer.compression == .uncompressed, try await StoredForm.isTar(descriptor, in: source) {
            if wanted == .uncompressed { return nil }
            self = .tar
            return
        }
        if layer.compression == .zstd, wanted == .zstd { return nil }
        let toc = try await EStargz.tocOffset(of: descriptor, in: source, limit: limit)
        switch (layer.compression, wanted, toc) {
        case (.gzip, .gzip, nil), (.gzip, .estargz, .some), (.zstd, .estargz, .some): return nil
        case (_, _, .some(let toc)): self = .estargz(toc: toc)
        case (_, _, nil): self = .compressed
        }
    }

    /// Whether a layer of an uncompressed type is uncompressed.
    private static func isTar(_ descriptor: Descriptor, in source: any BlobSource) async throws -> Bool {
        guard descriptor.size > 0 else { return true }
        let start = 0..<min(descriptor.size, Int64(TarBlock.size))
        var pieces = PieceReader(try await source.open(descriptor, range: start))
        let head = try await pieces.next(start.count) ?? ByteBuffer()
        return SniffedFormat(head, isLabelledTar: true) == .tar
    }
}
