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
        let folder = job.path.isEmpty ? root : root + [BytePath.slash] + job.path
        var names = try job.names ?? FileStatus.names(in: folder)
        var result = Result(job: job)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 16)
        defer { buffer.deallocate() }
        let hasher = SHA256()
        var bytes: Int64 = 0
        while result.found.count < DirectoryReader.maximumNames, bytes < DirectoryReader.maximumBytes,
            let name = names.popLast()
        {
            let path = job.path.isEmpty ? name : job.path + [BytePath.slash] + name
            var matches = PatternList.Matches()
            let isIgnored = ignored?.matches(path, below: job.matches, &matches) ?? false
            let file = folder + [BytePath.slash] + name
            let status = try FileStatus(file)
            // Ignored files are not read, but an ignored directory may hold files that stay.
            if isIgnored, !status.isDirectory || ignored?.hasNegations != true { continue }
            let metadata = try status.metadata(of: file, origin: origin)
            var found = Found(
                name: name, kind: .other, digest: ContentTree.empty, isIgnored: isIgnored, matches: matches)
            if case .symlink(let target) = metadata.kind {
                found.kind = .symlink
                found.target = target
            }
            if status.isDirectory { found.kind = .directory }
            if status.isRegular {
                found.entry = try read(file, path, status, metadata, hasher, buffer, &result)
                found.digest = found.entry?.digest ?? ContentTree.empty
                bytes += status.stamp.size
            } else {
                found.digest = metadata.digest()
            }
            result.found.append(found)
        }
        result.rest = names
        return result
    }

    private func read(
        _ file: [UInt8], _ path: [UInt8], _ status: FileStatus, _ metadata: FileMetadata, _ hasher: SHA256,
        _ buffer: UnsafeMutableRawBufferPointer, _ result: inout Result
    ) throws -> DirectoryIndex.Entry {
        if let known = previous?.entries[path], known.stamp == status.stamp { return known }
        result.hashedFiles += 1
        metadata.header.withUnsafeBytes { hasher.update($0) }
        var size: Int64 = 0
        let stamp = try FileStatus.read(file, size: status.stamp.size, buffer: buffer) { chunk throws(CacheError) in
            size += Int64(chunk.count)
            hasher.update(chunk)
        }
        let digest = hasher.finalize()
        guard size == status.stamp.size, stamp == status.stamp else {
            throw CacheError(
                .unavailable, "the file \(file.shown) changed while it was read; build again", retry: .worthwhile)
        }
        return DirectoryIndex.Entry(stamp: status.stamp, digest: digest)
    }

    /// Whether a file may change again without a trace in its times.
    static func mayChangeUnseen(_ stamp: FileStatus.Stamp, now: Int64) -> Bool {
        max(stamp.changed, stamp.modified) > now - clockTick
    }
}

/// Puts the results of a ``DirectoryReader`` together.
struct DirectoryAssembly {
    private struct Directory {
        var path: [UInt8]
        var parent: Int
        /// The directory in its parent; `nil` for the root.
        var own: DirectoryReader.Found?
        var files: [DirectoryReader.Found] = []
        var children: [Int] = []
        /// Whether it is in the tree: not if it and all that is in it is ignored.
        var isKept = true
    }

    private let origin: ContentTreeBuilder.Origin
    private var directories: [Directory] = [Directory(path: [], parent: -1, own: nil)]
    private var index = DirectoryIndex()
    private var hashedFiles = 0

    init(origin: ContentTreeBuilder.Origin) { self.origin = origin }

    /// Takes a result and returns the jobs that follow from it.
    mutating func take(_ result: DirectoryReader.Result, now: Int64) -> [DirectoryReader.Job] {
        var jobs: [DirectoryReader.Job] = []
        let (directory, path) = (result.job.directory, result.job.path)
        hashedFiles += result.hashedFiles
        for found in result.found {
            let ownPath = path.isEmpty ? found.name : path + [BytePath.slash] + found.name
            guard found.kind == .directory else {
                directories[directory].files.append(found)
                if let entry = found.entry, !DirectoryReader.mayChangeUnseen(entry.stamp, now: now) {
                    index.entries[ownPath] = entry
                }
                continue
            }
            directories[directory].children.append(directories.count)
            jobs.append(
                DirectoryReader.Job(directory: directories.count, path: ownPath, names: nil, matches: found.matches))
            directories.append(
                Directory(path: ownPath, parent: directory, own: found, isKept: !found.isIgnored))
        }
        if !result.rest.isEmpty {
            // Half for each, so that the names of a large directory are soon spread over all processors.
            let middle = result.rest.count / 2
            for names in [result.rest[..<middle], result.rest[middle...]] where !names.isEmpty {
                var job = result.job
                job.names = Array(names)
                jobs.append(job)
            }
        }
        return jobs
    }

    func finish() -> (ContentTree, DirectoryIndex, Int) {
        var directories = directories
        // Children have larger numbers, so going backwards meets them first.
        for number in directories.indices.dropFirst().reversed() {
            let hasFiles = !directories[number].files.isEmpty
            if hasFiles || directories[number].isKept {
                directories[number].isKept = true
                directories[directories[number].parent].isKept = true
            }
        }
        var builder = ContentTreeBuilder(origin)
        var nodes = [0]
        for number in directories.indices {
            if number > 0 {
                let directory = directories[number]
                guard directory.isKept, let own = directory.own else {
                    nodes.append(0)
                    continue
                }
                nodes.append(builder.append(own, to: nodes[directory.parent]))
            }
            for file in directories[number].files { _ = builder.append(file, to: nodes[number]) }
        }
        return (builder.finish(), index, hashedFiles)
    }
}
