package import BuildCacheBytes
package import BuildCacheCore
package import BuildCacheOCI
import NIOCore

/// A directory in the shape of an OCI image layout, as `type=local` keeps caches in.
///
///     oci-layout            {"imageLayoutVersion":"1.0.0"}
///     index.json            which tag names which manifest; replaced as a whole
///     index.json.lock       there while somebody changes index.json
///     blobs/sha256/<hex>    the blobs, read-only, written once
///     ingest/<name>/data    blobs and documents that are being written
///     signatures/sha256/…   the signatures of manifests, by the manifest's digest; other tools do not look there
///
/// A value: it holds a path and opens what it needs for each call, so any number may work on one directory, in one process or
/// in several, BuildKit's among them. An exporter calls ``prepare()`` and keeps the lease, puts blobs, then calls
/// ``setTag(_:to:if:)``; ``sweep(olderThan:keeping:)`` removes what no tag needs any more.
///
/// A process that is killed at any moment leaves the cache as it was or as it should be, plus at most a lock file nobody holds
/// and an `ingest` entry, which the next export removes. After a power cut the same holds: blobs are synced before they get
/// their name, the names before `index.json` mentions them.
///
/// A blob that is there with the right size counts as present. Its readers verify it, and change nothing; one that proves damaged is
/// replaced by the next export of the process that found out.
///
/// - Source: OCI image-spec, image-layout.md; `Documentation/Spec/backends.md` §2.
package struct OCILayout: BlobStore {
    /// The directory, as the user named it; it alone may be a symbolic link.
    package let path: String
    let fileSystem: any FileSystem
    let clock: any Clock<Duration>
    let lockTimeout: Duration

    /// Names a directory; nothing is opened yet.
    ///
    /// - Parameter lockTimeout: How long to wait for others who change the same directory. Default 10 seconds.
    package init(
        path: String, fileSystem: any FileSystem = PosixFileSystem(), clock: any Clock<Duration> = ContinuousClock(),
        lockTimeout: Duration = .seconds(10)
    ) {
        self.path = path
        self.fileSystem = fileSystem
        self.clock = clock
        self.lockTimeout = lockTimeout
    }

    // MARK: Blobs

    /// The size and age of a blob, `nil` when it, or the whole layout, is not there.
    package func stat(_ digest: Digest) async throws -> BlobStat? {
        try await Blocking.run {
            guard let root = try openRoot() else { return nil }
            let found = try ifPresent { () throws(FileError) in try openBlobs(in: root).status(of: digest.hex) }
            // What is no file is no blob; a put replaces it if it is a symbolic link.
            guard let status = found ?? nil, status.kind == .regular else { return nil }
            return BlobStat(size: status.size, modifiedAt: status.modifiedAt)
        }
    }

    /// Opens a blob, or part of it, without verifying its bytes.
    ///
    /// - Throws: `CacheError` `.notFound`; `.corrupted` when it has another size than `descriptor` says, is no file, or ends
    ///   before `range` does.
    package func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        try await Blocking.run {
            let found = try openRoot().flatMap { root in
                try ifPresent { () throws(FileError) in try openBlobs(in: root).open(descriptor.digest.hex, .read) }
            }
            let context = CacheError.Context(backend: "local", subject: descriptor.digest.description)
            guard let file = found else {
                throw CacheError(.notFound, "the layout \(path) does not have this blob", context: context)
            }
            let status = try file.status()
            guard status.kind == .regular, status.size == descriptor.size else {
                throw CacheError(
                    .corrupted,
                    "the blob has \(status.size) bytes instead of \(descriptor.size); an export replaces it",
                    context: context)
            }
            let range = range ?? 0..<status.size
            guard range.lowerBound >= 0, range.upperBound <= status.size else {
                throw CacheError(
                    .corrupted, "bytes \(range) of a blob of \(status.size) were asked for", context: context)
            }
            return file.stream(range)
        }
    }

    /// Stores a blob unless a file of its name and size is there; `source` is then never opened.
    ///
    /// Some bytes are written while `source` makes the next and these are hashed. They are durable when this returns; their name
    /// is once ``setTag(_:to:if:)`` has returned. A file of another size is replaced.
    ///
    /// - Throws: `CacheError` `.corrupted` if `source` gives other bytes, `.storageFull`, `.denied`, `.unavailable`; what
    ///   `source` throws. Nothing of the blob stays then.
    @discardableResult
    package func put(_ descriptor: Descriptor, from source: any BlobSource) async throws -> PutOutcome {
        if try await holds(descriptor) { return .alreadyPresent }
        try await write(descriptor, from: source)
        return .written
    }

    /// Whether a blob is there with the right size, and is not known to be damaged.
    private func holds(_ descriptor: Descriptor) async throws -> Bool {
        try await presence(of: [descriptor])[descriptor.digest] == .current
    }

    /// The state of each of these layers.
    func presence(of layers: [Descriptor]) async throws -> [Digest: LayerPresence] {
        try await Blocking.run {
            let blobs = try openRoot().flatMap { root in
                try ifPresent { () throws(FileError) in try openBlobs(in: root) }
            }
            let states = try layers.map { layer -> (Digest, LayerPresence) in
                let found = try blobs.flatMap { blobs in
                    try ifPresent { () throws(FileError) in try blobs.status(of: layer.digest.hex) } ?? nil
                }
                guard let status = found else { return (layer.digest, .absent) }
                let isWhole = status.kind == .regular && status.size == layer.size
                return (layer.digest, isWhole && !DamagedFiles.known.contains(status) ? .current : .damaged)
            }
            return Dictionary(states) { first, _ in first }
        }
    }

    /// Stores a document unless it is there, byte for byte: it is small, and a damaged one costs the whole cache.
    ///
    /// - Throws: As ``put(_:from:)``.
    @discardableResult
    package func put(_ document: RawDocument) async throws -> PutOutcome {
        let descriptor = document.descriptor
        if try await stat(descriptor.digest)?.size == descriptor.size {
            do {
                _ = try await self.bytes(of: descriptor, limit: document.bytes.count)
                return .alreadyPresent
            } catch let error as CacheError where error.code == .corrupted || error.code == .notFound {
                // Written anew below.
            }
        }
        try await write(descriptor, from: DocumentSource(document))
        return .written
    }

    private func write(_ descriptor: Descriptor, from source: any BlobSource) async throws {
        let stream = try await source.open(descriptor, range: nil)
        let ingest = try await Blocking.run {
            try Ingest(in: makeRoot().openOrMakeDirectory(Name.ingest))
        }
        do {
            try await write(stream.verified(as: descriptor), to: ingest)
            try await Blocking.run {
                let blobs = try makeRoot().openOrMakeDirectory(Name.blobs).openOrMakeDirectory(Name.sha256)
                let permissions = try ingest.permissions() & 0o444
                try ingest.publish(as: descriptor.digest.hex, in: blobs, permissions: permissions)
            }
        } catch {
            try? await Blocking.run { ingest.discard() }
            throw (error as? CacheError)?.adding(backend: "local", subject: "\(descriptor.digest)") ?? error
        }
    }

    /// Writes a stream, each batch while the next one is read and hashed.
    private func write(_ stream: BlobStream, to ingest: Ingest) async throws {
        var chunks = stream.makeAsyncIterator()
        var batch = try await OCILayout.batch(from: &chunks)
        while !batch.isEmpty {
            try Task.checkCancellation()
            let current = batch
            async let written: Void = Blocking.run { try ingest.write(current) }
            batch = try await OCILayout.batch(from: &chunks)
            try await written
        }
    }

    /// Chunks of 1 MiB together, fewer at the end: each batch costs a hop between threads.
    private static func batch(from chunks: inout BlobStream.AsyncIterator) async throws -> [ByteBuffer] {
        var batch: [ByteBuffer] = []
        var count = 0
        while count < 1 << 20, let chunk = try await chunks.next() {
            batch.append(chunk)
            count += chunk.readableBytes
        }
        return batch
    }

    /// Remembers that the file of a blob has other bytes than its name says, so that the next export of this process replaces it.
    func noteDamage(of digest: Digest) async {
        let found = try? await Blocking.run {
            try openRoot().flatMap { root in
                try ifPresent { () throws(FileError) in try openBlobs(in: root).status(of: digest.hex) }
            }
        }
        if let status = found ?? nil { DamagedFiles.known.note(status) }
    }

    // MARK: Preparing

    /// Makes the directory ready for an export: makes what is missing, removes what killed exports left.
    ///
    /// - Returns: A lease. While it is held no ``sweep(olderThan:keeping:)`` removes blobs that the export found present.
    /// - Throws: `CacheError` `.busy` while a sweep goes on, `.denied`, `.storageFull`, `.corrupted`, `.unavailable`.
    package func prepare() async throws -> Lease {
        let lease = try await retrying {
            let root = try makeRoot()
            guard try root.tryLock(exclusive: false) != .held else { return nil as Lease? }
            _ = try root.openOrMakeDirectory(Name.blobs).openOrMakeDirectory(Name.sha256)
            try Ingest.removeAbandoned(in: root.openOrMakeDirectory(Name.ingest))
            return Lease(root)
        }
        guard let lease else { throw busy("a prune or reset is removing blobs") }
        return lease
    }

    /// Calls `attempt` until it returns a value, with pauses from 5 to 250 ms; `nil` once ``lockTimeout`` is spent in them.
    func retrying<Value: Sendable>(
        for limit: Duration? = nil, _ attempt: @escaping @Sendable () throws -> Value?
    ) async throws -> Value? {
        var waited = Duration.zero
        var pause = Duration.milliseconds(5)
        while true {
            if let value = try await Blocking.run(attempt) { return value }
            guard waited < limit ?? lockTimeout else { return nil }
            try await clock.sleep(for: pause)
            waited += pause
            pause = min(pause * 2, .milliseconds(250))
        }
    }

    /// - Parameter reason: What goes on, as in "an export is being written".
    func busy(_ reason: String, in file: String? = nil) -> CacheError {
        let place = file.map { "\(path)/\($0)" } ?? path
        let root = try? openRoot()
        let locked = if let file { try? root?.open(file, .read) } else { root }
        let holders = locked?.lockHolders
        return CacheError(
            .busy,
            "\(place) has been locked for \(lockTimeout) by \(holders ?? "another process"): \(reason); nothing was changed, try again later",
            context: .init(backend: "local", subject: place), retry: .worthwhile)
    }

    // MARK: Names

    enum Name {
        static let layout = "oci-layout"
        static let index = "index.json"
        static let lock = "index.json.lock"
        static let blobs = "blobs"
        static let sha256 = "sha256"
        static let ingest = "ingest"
        static let signatures = "signatures"
    }

    /// The directory, `nil` if there is none.
    func openRoot() throws(FileError) -> OpenFile? {
        try ifPresent { () throws(FileError) in try OpenFile.root(path, fileSystem: fileSystem) }
    }

    /// The directory, made together with its parents if it is not there.
    func makeRoot() throws(FileError) -> OpenFile {
        if let root = try openRoot() { return root }
        let slashes = path.indices.filter { $0 > path.startIndex && path[$0] == "/" }
        let prefixes = slashes.map { String(path[..<$0]) } + [path]
        var parent = path.hasPrefix("/") ? "/" : "."
        for prefix in prefixes {
            if try ifPresent({ () throws(FileError) in try OpenFile.root(prefix, fileSystem: fileSystem) }) == nil {
                do throws(SystemError) {
                    try fileSystem.makeDirectory(prefix, in: nil)
                } catch {
                    let error = FileError(operation: "make", path: prefix, number: error.number)
                    if !error.alreadyExists { throw error }
                }
                try OpenFile.root(parent, fileSystem: fileSystem).syncDirectory()
            }
            parent = prefix
        }
        return try OpenFile.root(path, fileSystem: fileSystem)
    }

    func openBlobs(in root: OpenFile) throws(FileError) -> OpenFile {
        try root.open(Name.blobs, .directory).open(Name.sha256, .directory)
    }

    /// The result of `body`, `nil` if what it opens is not there.
    func ifPresent<Value>(_ body: () throws(FileError) -> Value) throws(FileError) -> Value? {
        do throws(FileError) { return try body() } catch  where error.isNotFound { return nil }
    }
}
