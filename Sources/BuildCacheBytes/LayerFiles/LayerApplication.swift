import BuildCacheCore
import CFiles
import NIOCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// Applies one layer to a tree, as the bytes of its tar come.
///
/// One thread at a time reads the tar and does everything about directories, links and removals, in order; the contents of small files go
/// to ``FileJobs``. Whatever depends on a file that may not be there yet waits for all of them.
struct LayerApplication {
    /// The file whose data come.
    private enum Current {
        case none
        /// Its data are passed over.
        case passed
        case small(FileJob, size: Int)
        case large(Handle, FileJob, size: Int64, isSparse: Bool)
    }

    // Larger files are written by the reading thread, piece by piece.
    private static let smallFile: Int64 = 1 << 20
    private static let batchCount = 64
    private static let batchBytes = 256 << 10

    let options: LayerUnpacker.Options
    let policy: UnpackPolicy
    let maker: FileMaker
    let jobs: FileJobs
    /// The most bytes of the tar, and of all its files.
    private let maximumBytes: Int64

    private var feed = TarFeed()
    var finder: ParentFinder
    /// The paths that the layer has so far.
    var paths = PathSet()
    /// The names that the layer removes, in overlay mode.
    var removed: Set<PathKey> = []
    var records: [PathKey: DirectoryRecord] = [:]
    private(set) var report = UnpackReport()
    private var current = Current.none
    private var batch: [FileJob] = []
    private var batchSize = 0
    private var tarBytes: Int64 = 0
    // Most entries stand in the directory of the one before.
    private var lastParent: (name: ArraySlice<UInt8>, directory: TreeDirectory)?
    private var lastName: [UInt8] = []

    /// The counts so far.
    var progress: FilesProgress {
        FilesProgress(entries: report.entries, bytes: report.bytes, path: String(decoding: lastName, as: UTF8.self))
    }

    /// Begins to apply a layer.
    ///
    /// - Parameter maximumBytes: The most bytes of the tar.
    init(to root: TreeDirectory, _ options: LayerUnpacker.Options, maximumBytes: Int64) {
        self.options = options
        self.maximumBytes = maximumBytes
        policy = UnpackPolicy(owners: options.owners)
        maker = FileMaker(policy: policy, skipped: SkippedParts())
        jobs = FileJobs(maker, workers: options.workerCount)
        finder = ParentFinder(root, policy, maximumDepth: options.limits.depth)
    }

    /// Takes the next bytes of the tar.
    ///
    /// - Throws: `CacheError` `.corrupted`, `.limitExceeded`, `.unsupported` for what the layer holds; `.denied`, `.storageFull` and others
    ///   for what the file system refuses.
    mutating func take(_ chunk: ByteBuffer) throws(CacheError) {
        tarBytes += Int64(chunk.readableBytes)
        guard tarBytes <= maximumBytes else { throw tooManyBytes() }
        var chunk = chunk
        while let event = try feed.next(&chunk) {
            switch event {
            case .entry(let entry): try begin(entry)
            case .data(let data, let offset): try take(data, at: offset)
            case .endOfFile: try endFile()
            }
        }
        try flush()
    }

    /// Completes the tree.
    ///
    /// - Throws: `CacheError` `.corrupted` if the tar breaks off.
    mutating func finish() throws(CacheError) -> UnpackReport {
        try feed.finish()
        try settle()
        // An entry's own attributes count, whatever the directory had before.
        let all = finder.opened.merging(records) { $1 }
        try DirectoryRecord.apply(all, below: finder.root, maker)
        (report.skipped, report.skippedCount) = maker.skipped.all
        report.keepsOwners = policy.setsOwners
        return report
    }

    /// Waits until all files of the layer so far are there.
    mutating func settle() throws(CacheError) {
        try flush()
        try jobs.wait()
    }

    private mutating func flush() throws(CacheError) {
        guard !batch.isEmpty else { return }
        let full = batch
        batch = []
        batchSize = 0
        try jobs.add(full)
    }

    /// Forgets open directories, because one was removed or replaced.
    mutating func forgetDirectories() {
        finder.forget()
        lastParent = nil
    }

    private func tooManyBytes() -> CacheError {
        CacheError(
            .limitExceeded,
            "the layer has more than \(maximumBytes) bytes unpacked; raise the limits of the unpacker to apply it")
    }

    // MARK: Entries

    private mutating func begin(_ entry: TarEntry) throws(CacheError) {
        current = .passed
        report.entries += 1
        lastName = entry.name
        guard report.entries <= options.limits.entries else {
            throw CacheError(
                .limitExceeded, "the layer has more than \(options.limits.entries) entries, the limit")
        }
        if entry.kind == .file, let (parent, name) = sameParent(entry.name) {
            return try beginFile(entry, name, in: parent)
        }
        let path = try EntryPath(entry.name, maximumDepth: options.limits.depth)
        switch try path.mark() {
        case .aufs: return
        case .opaque:
            report.removals += 1
            return try makeOpaque(path.components.dropLast())
        case .removal(let name):
            report.removals += 1
            return try remove(name, in: path.components.dropLast())
        case .none: break
        }
        guard let name = path.components.last else {
            guard entry.kind == .directory else {
                throw CacheError(
                    .corrupted, "invalid name \(entry.name.quotedPath) in the layer: expected a path below the root")
            }
            return
        }
        if !removed.isEmpty { try makeRemovedDirectories(path.components.dropLast()) }
        let parent = try findMaking(path.components.dropLast())
        if entry.kind == .file {
            lastParent = entry.name.lastIndex(of: UInt8(ascii: "/")).map { (entry.name[..<$0], parent) }
            return try beginFile(entry, name, in: parent)
        }
        try make(entry, name, in: parent)
    }

    /// The directory of the last file if this one stands in it too.
    private func sameParent(_ name: [UInt8]) -> (TreeDirectory, ArraySlice<UInt8>)? {
        guard let lastParent, name.count <= EntryPath.maximumPath, removed.isEmpty,
            let slash = name.lastIndex(of: UInt8(ascii: "/")), slash == lastParent.name.endIndex,
            name[..<slash] == lastParent.name
        else { return nil }
        let last = name[(slash + 1)...]
        guard let first = last.first, first != UInt8(ascii: "."), last.count <= EntryPath.maximumComponent,
            !last.contains(0)
        else { return nil }
        return (lastParent.directory, last)
    }

    mutating func findMaking(
        _ components: some BidirectionalCollection<ArraySlice<UInt8>>
    ) throws(CacheError) -> TreeDirectory {
        guard let directory = try find(components, for: .making) else {
            throw CacheError(.busy, "a directory of the tree went while the layer was applied", retry: .worthwhile)
        }
        return directory
    }

    mutating func find(
        _ components: some BidirectionalCollection<ArraySlice<UInt8>>, for purpose: ParentFinder.Purpose
    ) throws(CacheError) -> TreeDirectory? {
        try flush()
        return try finder.find(components, for: purpose, &paths) { [jobs] () throws(CacheError) in try jobs.wait() }
    }

    // MARK: Files

    private mutating func beginFile(
        _ entry: TarEntry, _ name: ArraySlice<UInt8>, in parent: TreeDirectory
    ) throws(CacheError) {
        let attributes = try attributes(of: entry)
        let size = entry.fullSize
        guard size <= maximumBytes - min(maximumBytes, report.bytes) else { throw tooManyBytes() }
        report.bytes += size
        let isRepeated = try claim(parent.key.child(name), name, in: parent)
        let job = FileJob(
            directory: parent, name: name, attributes: attributes, data: ByteBuffer(), isRepeated: isRepeated)
        guard entry.sparse == nil, size <= LayerApplication.smallFile else {
            let handle = try maker.create(name, in: parent, attributes, isRepeated: isRepeated)
            current = .large(handle, job, size: size, isSparse: entry.sparse != nil)
            return
        }
        current = .small(job, size: Int(size))
    }

    /// Notes a name that is not a directory's; removes what the layer has put there before.
    ///
    /// - Returns: Whether there was something.
    mutating func claim(
        _ key: PathKey, _ name: ArraySlice<UInt8>, in parent: TreeDirectory
    ) throws(CacheError) -> Bool {
        let before = paths.insert(key.asFile)
        let wasRemoved = removed.remove(key.asFile) != nil
        guard !before.isEmpty || wasRemoved else { return false }
        try settle()
        try maker.clear(name, in: parent, isRepeated: true)
        if before.contains(.directory) { forgetDirectories() }
        return true
    }

    private mutating func take(_ data: ByteBuffer, at offset: Int64) throws(CacheError) {
        switch current {
        case .none, .passed: return
        case .small(var job, let size):
            current = .none
            if job.data.readableBytes == 0, data.readableBytes == size {
                job.data = data
            } else {
                job.data.reserveCapacity(size)
                job.data.writeImmutableBuffer(data)
            }
            current = .small(job, size: size)
        case .large(let handle, let job, _, let isSparse):
            if isSparse {
                guard lseek(handle.descriptor, off_t(offset), SEEK_SET) >= 0 else {
                    throw maker.failure(errno, "write", job.path)
                }
            }
            try maker.write(data, to: handle) { job.path }
        }
    }

    private mutating func endFile() throws(CacheError) {
        defer { current = .none }
        switch current {
        case .none, .passed: return
        case .small(let job, let size):
            batch.append(job)
            batchSize += size
            if batch.count >= LayerApplication.batchCount || batchSize >= LayerApplication.batchBytes { try flush() }
        case .large(let handle, let job, let size, let isSparse):
            if isSparse, ftruncate(handle.descriptor, off_t(size)) != 0 {
                throw maker.failure(errno, "write", job.path)
            }
            try maker.finish(handle, job.name, in: job.directory, job.attributes)
        }
    }

    // MARK: Attributes

    private static let maximumAttributes = 64 << 10

    /// The attributes of an entry.
    ///
    /// - Throws: `CacheError` `.corrupted` for an owner that no file can have, `.limitExceeded` for more than 64 KiB.
    func attributes(of entry: TarEntry) throws(CacheError) -> EntryAttributes {
        // The greatest number means "leave it" to the kernel.
        guard let user = UInt32(exactly: entry.userID), let group = UInt32(exactly: entry.groupID),
            user < .max, group < .max
        else {
            throw CacheError(
                .corrupted,
                "\(entry.name.quotedPath) in the layer has the owner \(entry.userID):\(entry.groupID): "
                    + "expected numbers from 0 to 4294967294")
        }
        var attributes = EntryAttributes(
            mode: UInt32(truncatingIfNeeded: entry.mode) & 0o7777, userID: user, groupID: group,
            modified: FileTime(seconds: entry.modifiedSeconds, nanoseconds: entry.modifiedNanoseconds))
        guard !entry.attributes.isEmpty else { return attributes }
        var size = 0
        for (name, value) in entry.attributes.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
            size += name.count + value.count
            attributes.extended.append(EntryAttributes.Extended(name: name, value: value))
        }
        guard size <= LayerApplication.maximumAttributes else {
            throw CacheError(
                .limitExceeded,
                "\(entry.name.quotedPath) in the layer has \(size) bytes of attributes: expected at most 65536")
        }
        return attributes
    }
}
