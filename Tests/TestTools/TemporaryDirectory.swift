import Foundation

/// A directory of one test, removed with it.
public final class TemporaryDirectory: Sendable {
    /// Its path.
    public let path: String

    /// Makes an empty directory.
    public init() throws {
        path = NSTemporaryDirectory() + "build-cache-test-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }
}
