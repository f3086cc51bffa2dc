public import BuildCacheCore
import Dispatch

/// The files of a directory, read and hashed as the context of a build.
///
/// ```swift
/// let ignored = try DirectoryScan.ignorePatterns(inContext: "app")
/// let scan = try await DirectoryScan("app", ignoring: ignored)
/// let key = try scan.tree.contentKey(of: [ContentSelector("/src")])
/// ```
///
/// Files are read on threads of their own, at most two for each processor.
public struct DirectoryScan: Sendable {
    /// The tree of the files that are not ignored.
    public let tree: ContentTree
    /// The digests of the files, for the next scan of the directory.
    public let index: DirectoryIndex
    /// The number of files whose data was read; the others were known from the index.
    public let hashedFiles: Int

    /// Reads a directory.
    ///
    /// - Parameters:
    ///   - path: The directory.
    ///   - ignored: Patterns of files that are left out; a directory stays if anything in it stays.
    ///   - previous: The index of an earlier scan. A file counts as unchanged if its size, times and inode are the same. Default
    ///     `nil`, which reads all files.
    ///   - origin: Whether the files count as sent by a client, which is the default, or as they are.
    ///   - now: The present in seconds since 1970, for the index: a file that changed just now may change again within the same tick
    ///     of the file system's clock, so it is read again next time. Default the system's clock.
    /// - Throws: `CacheError` `.notFound`, `.denied`; `.unavailable` if a file changes while it is read; `CancellationError`.
    public init(
        _ path: String, ignoring ignored: PatternList? = nil, previous: DirectoryIndex? = nil,
        origin: ContentTreeBuilder.Origin = .localContext, now: Int64? = nil
    ) async throws {
        let reader = DirectoryReader(
            root: Array(path.utf8), ignored: ignored, previous: previous, origin: origin,
            now: now ?? FileStatus.now)
        var assembly = DirectoryAssembly(origin: origin)
        try await withThrowingTaskGroup(of: DirectoryReader.Result.self) { group in
            var waiting = [DirectoryReader.Job(directory: 0, path: [], names: nil, matches: .init())]
            var running = 0
            while true {
                while running < FileStatus.processors * 2, let job = waiting.popLast() {
                    group.addTask { try await DirectoryScan.onOwnThread { try reader.run(job) } }
                    running += 1
                }
                guard let result = try await group.next() else { break }
                running -= 1
                waiting += assembly.take(result)
            }
        }
        (tree, index, hashedFiles) = assembly.finish(now: reader.now)
    }

    private static let threads = DispatchQueue(label: "build-cache-directory-scan", attributes: .concurrent)

    /// Runs what blocks while a disk answers where it does not hold up Swift's own threads.
    private static func onOwnThread<Value: Sendable>(
        _ body: @escaping @Sendable () throws -> Value
    ) async throws -> Value {
        try Task.checkCancellation()
        return try await withCheckedThrowingContinuation { continuation in
            threads.async { continuation.resume(with: Result { try body() }) }
        }
    }

    /// The patterns of a context's ignore file: that of the Dockerfile's own name if it exists, else `.dockerignore`; `nil` without
    /// either.
    ///
    /// - Throws: `CacheError` `.invalidSpec` for a malformed pattern, `.limitExceeded` for a file beyond 16 MiB, `.denied`.
    public static func ignorePatterns(
        inContext path: String, dockerfile: String = "Dockerfile"
    ) throws(CacheError) -> PatternList? {
        for name in ["\(dockerfile).dockerignore", ".dockerignore"] {
            let file = Array("\(path)/\(name)".utf8)
            do throws(CacheError) {
                return try PatternList(ignoreFile: try OpenedFile(file).readAll(maximumBytes: 16 << 20))
            } catch  where error.code == .notFound { continue }
        }
        return nil
    }
}
