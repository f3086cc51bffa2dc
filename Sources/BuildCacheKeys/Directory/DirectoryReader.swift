import BuildCacheCore

/// Reads the files of a directory in jobs, each short enough for all processors to have one.
struct DirectoryReader: Sendable {
    /// A directory to list, or some names of one.
    struct Job: Sendable {
        /// The number that the directory got.
        var directory: Int
        /// The path below the root.
        var path: [UInt8]
        /// The names to read; `nil` for all that a listing has.
        var names: [[UInt8]]?
        /// The patterns that matched the directory.
        var matches: PatternList.Matches
    }

    /// One file of a directory.
    struct Found: Sendable {
        var name: [UInt8]
        var kind: ContentTree.Kind
        var digest: Digest
        var target: [UInt8] = []
        var isIgnored: Bool
        /// Of a directory, for what is in it.
        var matches: PatternList.Matches
        /// Of a file that was read.
        var entry: DirectoryIndex.Entry?
    }

    struct Result: Sendable {
        var job: Job
        var found: [Found] = []
        /// Names that were left for others.
        var rest: [[UInt8]] = []
        var hashedFiles = 0
    }

    private static let maximumNames = 256
    private static let maximumBytes: Int64 = 8 << 20
    /// The seconds within which a file may change twice and keep its time: two on some file systems.
    private static let clockTick: Int64 = 2

    let root: [UInt8]
    let ignored: PatternList?
    let previous: DirectoryIndex?
    let origin: ContentTreeBuilder.Origin
    let now: Int64

    func run(_ job: Job) throws -> Result {
        let folder = try OpenDirectory(job.path.isEmpty ? root : root + [BytePath.slash] + job.path)
        var names = try job.names ?? folder.names()
        var result = Result(job: job)
        // The digests of an index with owners are others.
        let hasIndex = previous.map { $0.hasOwners == (origin == .layers) } ?? false
        let known = hasIndex ? previous?.directories[job.path] ?? [] : []
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 16)
        defer { buffer.deallocate() }
        let hasher = SHA256()
        var bytes: Int64 = 0
        while result.found.count < DirectoryReader.maximumNames, bytes < DirectoryReader.maximumBytes,
            let name = names.popLast()
        {
            var matches = PatternList.Matches()
            var isIgnored = false
            if let ignored {
                let path = job.path.isEmpty ? name : job.path + [BytePath.slash] + name
                isIgnored = ignored.matches(path, below: job.matches, &matches)
            }
            let status = try folder.status(of: name)
            // Ignored files are not read, but an ignored directory may hold files that stay.
            if isIgnored, !status.isDirectory || ignored?.hasNegations != true { continue }
            var found = Found(
                name: name, kind: .other, digest: ContentTree.empty, isIgnored: isIgnored, matches: matches)
            if status.isRegular {
                let entry = try entry(of: name, known, status, folder, hasher, buffer, &result)
                found.entry = entry
                found.digest = entry.digest
                bytes += status.stamp.size
            } else {
                var metadata = status.metadata(origin)
                metadata.attributes = try FileAttributes.of(folder.path(of: name))
                if case .symlink = metadata.kind {
                    found.kind = .symlink
                    found.target = try folder.target(of: name)
                    metadata.kind = .symlink(found.target)
                }
                if status.isDirectory { found.kind = .directory }
                found.digest = metadata.digest()
            }
            result.found.append(found)
        }
        result.rest = names
        return result
    }

    /// The entry of a file: that of the index if the file is the same, else made from its data.
    private func entry(
        of name: [UInt8], _ known: [DirectoryIndex.File], _ status: FileStatus, _ folder: borrowing OpenDirectory,
        _ hasher: SHA256,
        _ buffer: UnsafeMutableRawBufferPointer, _ result: inout Result
    ) throws -> DirectoryIndex.Entry {
        // Attributes need no look: a change of them changes the times.
        if let known = DirectoryIndex.entry(of: name, in: known), known.stamp == status.stamp { return known }
        result.hashedFiles += 1
        let file = try folder.open(name)
        var metadata = status.metadata(origin)
        metadata.attributes = try file.attributes()
        metadata.header.withUnsafeBytes { hasher.update($0) }
        let size = try file.read(size: status.stamp.size, buffer) { chunk throws(CacheError) in hasher.update(chunk) }
        let digest = hasher.finalize()
        guard size == status.stamp.size, try file.stamp() == status.stamp else {
            throw CacheError(
                .unavailable, "the file \(folder.path(of: name).shown) changed while it was read; build again",
                retry: .worthwhile)
        }
        return DirectoryIndex.Entry(stamp: status.stamp, digest: digest)
    }

    /// Whether a file may change again without a trace in its times.
    static func mayChangeUnseen(_ stamp: FileStatus.Stamp, now: Int64) -> Bool {
        max(stamp.changed, stamp.modified) > now - clockTick
    }
}
