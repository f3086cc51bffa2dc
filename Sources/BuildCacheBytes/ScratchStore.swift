public import BuildCacheCore
import NIOCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// A directory of converted layers: each conversion is done once, whoever asks and however often.
///
/// Layers lie in `blobs/sha256/`, named by digest, and appear there only when they are complete. Beside them, in
/// `conversions/`, one small note per conversion says what became of which blob, so that a later process finds it again.
/// Several processes may use one directory at the same time.
///
/// What is already as it should be is not copied here. Nothing is ever deleted but by ``remove()``.
public struct ScratchStore: Sendable {
    private let directory: String
    let blobs: FileBlobSource
    // Only what must survive a power cut is worth waiting for the disk.
    let isLasting: Bool
    private let work = SharedWork<Request, Conversion>()

    /// How large layers may be that are converted.
    ///
    /// Default as ``DecompressionLimit/init(bytes:ratio:)``.
    public var decompressionLimit = DecompressionLimit()

    /// Conversions that are the same.
    private enum Request: Hashable, Sendable {
        case stored(StreamDigest.Value, diffID: DiffID?, isRaw: Bool, encoder: String)
        case pending(PendingLayer, encoder: String)
    }

    // MARK: Making and removing

    /// Opens the store in `directory`, which is made if need be.
    ///
    /// - Throws: `CacheError` `.denied`, `.storageFull`, `.unavailable`.
    public static func open(at directory: String) async throws -> ScratchStore {
        try await Workers.files.run { () throws(CacheError) in try ScratchStore(directory, isLasting: true) }
    }

    /// Gives `body` a store in a new temporary directory, which is removed with all it holds when `body` returns or throws.
    ///
    /// - Parameters:
    ///   - parent: Where to make the directory. Default is `TMPDIR` of the environment, then `/var/tmp`: other
    ///     than `/tmp` that is never memory, and layers may be large.
    ///   - body: What uses the store; its value is returned.
    public static func withTemporary<Value>(
        in parent: String? = nil, _ body: (ScratchStore) async throws -> Value
    ) async throws -> Value {
        let store = try await Workers.files.run { () throws(CacheError) in
            let parent = parent ?? getenv("TMPDIR").map { String(cString: $0) } ?? "/var/tmp"
            let name = String(UInt64.random(in: .min ... .max), radix: 36)
            let directory = "\(parent)/build-cache-\(name)"
            try makeDirectory(parent)
            // Nobody else may read what layers hold.
            guard mkdir(directory, 0o700) == 0 else {
                throw cacheError(errno: errno, "make the directory \(directory)")
            }
            return try ScratchStore(directory, isLasting: false)
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

    private init(_ directory: String, isLasting: Bool) throws(CacheError) {
        self.directory = directory
        self.isLasting = isLasting
        blobs = FileBlobSource(directory: "\(directory)/blobs/sha256")
        try makeDirectory(blobs.directory)
        try makeDirectory("\(directory)/conversions")
    }

    /// Removes all layers and notes, and the directory unless something else is in it.
    public func remove() async {
        await Workers.files.run {
            for folder in ["blobs/sha256", "conversions"] {
                for name in fileNames(in: "\(directory)/\(folder)") { unlink("\(directory)/\(folder)/\(name)") }
            }
            for folder in ["blobs/sha256", "blobs", "conversions", ""] { rmdir("\(directory)/\(folder)") }
        }
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
    /// - Source: `spec/compression.md` §3.
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
    /// `tar` opens the tar; it is called once for all who ask for the same layer at the same time, and again for who asks
    /// later: only its maker knows whether two layers of one name are one.
    ///
    /// - Throws: As ``layer(from:in:to:)``, and what `tar` throws.
    package func layer(
        pending: PendingLayer, to options: CompressionOptions, tar: @escaping @Sendable () async throws -> BlobStream
    ) async throws -> StoredLayer {
        do {
            let encoder = try LayerEncoder(options)
            let conversion = try await work.value(for: .pending(pending, encoder: encoder.name)) {
                try await store { file in
                    let encoded = try await encoder.encode(try await tar()) { try await file.write($0) }
                    return Conversion(source: encoded.tar, sourceDiffID: DiffID(encoded.tar.digest), encoded: encoded)
                }
            }
            var annotations = conversion.annotations(replacing: [:])
            annotations[Annotation.createdAt] = pending.createdAt?.description
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
        try await writeAtomically(in: "\(directory)/conversions", synchronized: isLasting) { file in
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
        try await writeAtomically(in: blobs.directory, synchronized: isLasting) { file in
            let conversion = try await convert(file)
            return (blobs.path(of: conversion.encoded.stored.digest), conversion)
        }
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

    /// The conversion noted at `path`, if its blob is there and has the right size.
    private func remembered(at path: String) async -> Conversion? {
        await Workers.files.run {
            guard let file = try? OpenFile(reading: path), file.size < 4096, let bytes = try? file.read(0..<file.size),
                let conversion = Conversion(note: String(buffer: bytes)),
                let blob = try? OpenFile(reading: blobs.path(of: conversion.encoded.stored.digest)),
                blob.size == conversion.encoded.stored.size
            else { return nil }
            return conversion
        }
    }
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
    /// - Source: `spec/compression.md` §3 `NeedsConversion`. BuildKit takes a layer that was not downloaded yet for plain
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

/// The names of all files in a directory, none if it cannot be read.
private func fileNames(in directory: String) -> [String] {
    guard let listing = opendir(directory) else { return [] }
    defer { closedir(listing) }
    var names: [String] = []
    while let entry = readdir(listing) {
        let name = withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        if name != ".", name != ".." { names.append(name) }
    }
    return names
}
