import BuildCacheBytes
package import BuildCacheCore
package import BuildCacheOCI
import Synchronization

/// Keeps blobs from being swept while somebody relies on them: an export that found them present, an import that reads them
/// when it needs them.
///
/// Ends with ``end()`` or with the last reference, in a process that is killed too.
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
    /// Blobs that an import is going to read stay until the lease ends; open streams need none.
    ///
    /// - Returns: `nil` when the directory is not there.
    /// - Throws: `CacheError` `.busy` while a sweep goes on, `.denied`, `.unavailable`.
    package func lease() async throws -> Lease? {
        let lease = try await retrying { () -> Lease?? in
            guard let root = try openRoot() else { return .some(nil) }
            return try root.tryLock(exclusive: false) == .held ? nil : .some(Lease(root))
        }
        guard let lease else { throw busy(path) }
        return lease
    }

    /// Removes the blobs that no entry of `index.json` needs, and what abandoned exports left: `reset=true`.
    ///
    /// Nothing that somebody needs is removed. Exports and imports of this library hold a shared lock on the directory, their
    /// ``Lease``; a sweep takes it exclusively, at once or not at all, and new ones wait until it is done. What is in use is
    /// found out under that lock, so that no export can end unseen between the question and the removal. A blob being read
    /// stays readable to who has it open, as ever under POSIX.
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
        guard let answer = try await Blocking.run({ try lockForSweep() }) else { throw inUse }
        guard let lock = answer else { return SweepResult() }
        defer { lock.end() }
        guard let index = try await index() else { return SweepResult() }
        let keep = try await keeping(index)

        let now = fileSystem.now()
        let candidates = try await Blocking.run {
            try blobs().filter { digest, stat in
                guard !keep.contains(digest), let modifiedAt = stat.modifiedAt else { return false }
                return now.elapsed(since: modifiedAt) >= age
            }.map { (digest: $0.0, size: $0.1.size) }
        }
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
        guard let lock = try await retrying({ try lockForSweep() }) else { throw inUse }
        return lock
    }

    /// The exclusive lock: `nil` where it is not to be had now, a `nil` in it where there is no directory.
    private func lockForSweep() throws -> Lease?? {
        guard let root = try openRoot() else { return .some(nil) }
        let ingest = try ifPresent { () throws(FileError) in try root.open(Name.ingest, .directory) }
        let isBuildKitBusy = try ingest.map { try !foreignIngests(in: $0, idle: false).isEmpty } ?? false
        guard !isBuildKitBusy, try root.tryLock(exclusive: true) == .taken else { return nil }
        return Lease(root)
    }

    var inUse: CacheError {
        CacheError(
            .busy, "the cache is in use, unused blobs stay until the next time",
            context: .init(backend: "local", subject: path), retry: .worthwhile)
    }

    /// The stored blobs, whatever reaches them; other files are nobody's business.
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

    /// Removes what exports left that were killed; under the lock of a sweep.
    func removeIngests() throws {
        guard let root = try openRoot(),
            let ingest = try ifPresent({ () throws(FileError) in try root.open(Name.ingest, .directory) })
        else { return }
        try Ingest.removeAbandoned(in: ingest)
        for name in try foreignIngests(in: ingest, idle: true) { Ingest.remove(name, in: ingest) }
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
