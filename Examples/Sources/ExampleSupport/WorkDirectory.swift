public import BuildCacheClient
public import Foundation

/// A directory for the files of a build, which is removed at its end.
public struct WorkDirectory: Sendable {
    /// The path of the directory.
    public let url: URL

    /// Runs `body` with a new directory.
    public static func withTemporary<Value>(_ body: (WorkDirectory) async throws -> Value) async throws -> Value {
        let url = FileManager.default.temporaryDirectory.appending(path: "example-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: url) }
        return try await body(WorkDirectory(url: url))
    }

    /// Makes a directory with one file in it, and a layer of that.
    public func layer(file name: String, _ bytes: [UInt8]) async throws -> CacheSession.ResultLayer {
        let directory = url.appending(path: UUID().uuidString)
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        try Data(bytes).write(to: directory.appending(path: name))
        return try await .directory(directory.path)
    }
}
