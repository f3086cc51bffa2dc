import BuildCacheBytes
package import BuildCacheCore
package import BuildCacheOCI
import Synchronization

/// Keeps blobs from being swept: those that an export found present, or those that an imported cache will read.
///
/// Ends with ``end()``, at the latest with the last reference or the process.
package final class Lease: Sendable {
    private let lock: Mutex<OpenFile?>

    init(_ root: OpenFile) { lock = Mutex(root) }

    package func end() { lock.withLock { $0 = nil } }
}

/// What a sweep removed.
package struct SweepResult: Hashable, Sendable {
    package var blobs = 0
    /// Bytes of those blobs, as stored.
    package var bytes: Int64 = 0

    package init() {}
}

extension OCILayout {
    /// Keeps sweeps out altogether while an import looks for its manifest; it then holds on with ``lease(on:)``.
    ///
    /// - Returns: `nil` when the directory is not there.
    /// - Throws: `CacheError` `.busy` while a sweep goes on, `.denied`, `.unavailable`.
    package func lease() async throws -> Lease? {
        let lease = try await retrying { () -> Lease?? in
            guard let root = try openRoot() else { return .some(nil) }
            return try root.tryLock(exclusive: false) == .held ? nil : .some(Lease(root))
        }
        guard let lease else { throw busy("a prune or reset is removing blobs") }
        return lease
    }

    /// Keeps a manifest, and all that it leads to, from being swept; everything else may go.
    ///
    /// Open streams need no lease.
    ///
    /// The lock is on the manifest's own file, so imported caches that live as long as a build keep no prune from its work.
    ///
    /// - Returns: `nil` where the file is not there, or the file system does not support locks: then a sweep costs hits, and nothing else.
    func lease(on manifest: Digest) async throws -> Lease? {
        let lease = try await retrying { () -> Lease?? in
            let found = try openRoot().flatMap { root in
                try ifPresent { () throws(FileError) in try openBlobs(in: root).open(manifest.hex, .read) }
            }
            guard let file = found else { return .some(nil) }
            switch try file.tryLock(exclusive: false) {
            case .taken: return .some(Lease(file))
            // A sweep only looks whether the lock is free.
            case .held: return nil
            case .unsupported: return .some(nil)
            }
        }
        return lease ?? nil
    }

    /// Those of the blobs that an imported cache reads from, with all that they lead to; asked under the lock of a sweep.
    func blobsInUse(among candidates: [Digest]) async throws -> Set<Digest> {
        let locked = try await Blocking.run {
            guard let root = try openRoot() else { return [Digest]() }
            let blobs = try openBlobs(in: root)
            return try candidates.filter { digest in
                let found = try ifPresent { () throws(FileError) in try blobs.open(digest.hex, .read) }
                return try found?.tryLock(exclusive: true) == .held
            }
        }
        var (needed, documents) = ([Digest: Int64](), Set<Digest>())
        for digest in locked {
            guard let stat = try await stat(digest) else { continue }
            try await collect(
                Descriptor(mediaType: "", digest: digest, size: stat.size), into: &needed, documents: &documents,
                passingDamaged: true)
        }
        return Set(needed.keys)
    }

    /// Removes the blobs that no entry of `index.json` needs, and what abandoned exports left: `reset=true`.
    ///
    /// Nothing that is in use is removed. Exports of this library, and imports while they look for their manifest, hold a shared lock on
    /// the directory; a sweep takes it exclusively, at once or not at all, and new ones wait until it is done. An imported cache holds a
    /// shared lock on its manifest. Both are looked at under the exclusive lock, so that no export can end unseen between the question and
    /// the removal. A blob stays readable for whatever has it open, as ever under POSIX.
    ///
    /// BuildKit takes no such lock. Its exports are known by what they write under `ingest`: if something there changed within
    /// the last hour, nothing is swept. `olderThan` protects more where BuildKit exports to the same directory all the time.
    ///
    /// - Parameters:
    ///   - olderThan: Blobs younger than this stay, by their modification time. Default zero: all may go, as in BuildKit.
    ///   - keeping: Finds the digests of everything reachable from the entries of the index. Called under the lock: it may
    ///     `open` and `stat` here, but must not wait for a lease.
    /// - Returns: What was removed; nothing where there is no index.
    /// - Throws: `CacheError` `.busy` when exports or imports are going on: sweep another time. What `keeping` throws, with
    ///   nothing removed. `CancellationError` with part of it removed.
    @discardableResult
    package func sweep(
        olderThan age: Duration = .zero, keeping: @Sendable (OCILayoutIndex) async throws -> Set<Digest>
    ) async throws -> SweepResult {
        guard let answer = try await Blocking.run({ try lockForSweep() }) else { throw inUse() }
        guard let lock = answer else { return SweepResult() }
        defer { lock.end() }
        guard let index = try await index() else { return SweepResult() }
        let keep = try await keeping(index)

        let now = fileSystem.now()
        let unreached = try await Blocking.run {
            try blobs().filter { digest, stat in
                guard !keep.contains(digest), let modifiedAt = stat.modifiedAt else { return false }
                return now.elapsed(since: modifiedAt) >= age
            }.map { (digest: $0.0, size: $0.1.size) }
        }
        let used = try await blobsInUse(among: unreached.map(\.digest))
        let candidates = unreached.filter { !used.contains($0.digest) }
        var result = SweepResult()
        for start in stride(from: 0, to: candidates.count, by: 256) {
            try Task.checkCancellation()
            let part = candidates[start..<min(start + 256, candidates.count)]
            let removed = try await Blocking.run { try remove(part) }
            result.blobs += removed.blobs
            result.bytes += removed.bytes
        }
        try await Blocking.run { try removeIngests() }
        return result
    }

    /// What a sweep holds, within the time that all wait for locks.
    ///
    /// - Returns: `nil` when the directory is not there.
    /// - Throws: `CacheError` `.busy`, `.denied`, `.unavailable`.
    func waitForSweep() async throws -> Lease? {
        guard let lock = try await retrying({ try lockForSweep() }) else { throw inUse() }
        return lock
    }

    /// The exclusive lock: `nil` while it is held, a `nil` in it where the directory does not exist.
    private func lockForSweep() throws -> Lease?? {
        guard let root = try openRoot() else { return .some(nil) }
        let ingest = try ifPresent { () throws(FileError) in try root.open(Name.ingest, .directory) }
        let isBuildKitBusy = try ingest.map { try !foreignIngests(in: $0, idle: false).isEmpty } ?? false
        guard !isBuildKitBusy, try root.tryLock(exclusive: true) == .taken else { return nil }
        return Lease(root)
    }

    private func inUse() -> CacheError {
        let holders = (try? openRoot())?.lockHolders ?? "another process, or a BuildKit that exports"
        return CacheError(
            .busy,
            "\(path) is in use by \(holders), which exports to it or begins to read it; nothing was removed, try again later",
            context: .init(backend: "local", subject: path), retry: .worthwhile)
    }

    /// The stored blobs, whatever reaches them; other files are left alone.
    func blobs() throws -> [(Digest, BlobStat)] {
        let found = try openRoot().flatMap { root in try ifPresent { () throws(FileError) in try openBlobs(in: root) } }
        guard let blobs = found else { return [] }
        return try blobs.list().compactMap { name in
            guard let digest = try? Digest("sha256:" + name), let status = try blobs.status(of: name),
                status.kind != .directory
            else { return nil }
            return (digest, BlobStat(size: status.size, modifiedAt: status.modifiedAt))
        }
    }

    /// Removes a blob, under the lock of a sweep, if it is as it was listed; says whether it is gone.
    func remove(_ digest: Digest, unlessOtherThan listed: BlobStat) throws -> Bool {
        guard let root = try openRoot() else { return true }
        let blobs = try openBlobs(in: root)
        guard let status = try blobs.status(of: digest.hex) else { return true }
        guard BlobStat(size: status.size, modifiedAt: status.modifiedAt) == listed else { return false }
        try blobs.remove(digest.hex)
        return true
    }

    private func remove(_ part: ArraySlice<(digest: Digest, size: Int64)>) throws -> SweepResult {
        guard let root = try openRoot() else { return SweepResult() }
        let blobs = try openBlobs(in: root)
        var result = SweepResult()
        for (digest, size) in part {
            try blobs.remove(digest.hex)
            result.blobs += 1
            result.bytes += size
        }
        return result
    }

    /// The ingests of exports that were killed, with the bytes that they hold; those of other programs count after an idle hour.
    func abandonedIngests() throws -> [(name: String, size: Int64)] {
        guard let ingest = try openIngest() else { return [] }
        let names = try Ingest.abandoned(in: ingest) + foreignIngests(in: ingest, idle: true)
        return names.map { name in
            let data = try? ingest.open(name, .directory).status(of: "data")
            return (name, (data ?? nil)?.size ?? 0)
        }
    }

    /// Removes an abandoned ingest, and says whether it is gone; under the lock of a sweep.
    func removeIngest(_ name: String) throws -> Bool {
        guard let ingest = try openIngest(), try abandonedIngests().contains(where: { $0.name == name }) else {
            return false
        }
        Ingest.remove(name, in: ingest)
        return true
    }

    private func removeIngests() throws {
        guard let ingest = try openIngest() else { return }
        for (name, _) in try abandonedIngests() { Ingest.remove(name, in: ingest) }
    }

    private func openIngest() throws -> OpenFile? {
        try openRoot().flatMap { root in
            try ifPresent { () throws(FileError) in try root.open(Name.ingest, .directory) }
        }
    }

    /// The ingests of others that have been idle for an hour, or those that have not.
    private func foreignIngests(in ingest: OpenFile, idle: Bool) throws(FileError) -> [String] {
        let now = fileSystem.now()
        var names: [String] = []
        for name in try ingest.list() where !name.hasPrefix(Ingest.prefix) {
            guard let directory = try? ingest.open(name, .directory) else { continue }
            let times = [try directory.status(), try directory.status(of: "data")].compactMap { $0?.modifiedAt }
            guard let newest = times.max() else { continue }
            if (now.elapsed(since: newest) >= .seconds(3600)) == idle { names.append(name) }
        }
        return names
    }
}
