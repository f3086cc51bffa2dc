import CZstd
package import Foundation

/// The files that BuildKit wrote, and inputs with right answers, from `Tests/Fixtures/fixtures.tar.zst`.
///
/// The archive is unpacked into `.build` once for each of its versions, by whichever test process comes first.
package enum FixtureArchive {
    /// The folder with the builds, each with its caches, as in `01-single/inline`.
    package static let buildkit = folder.appending(path: "fixtures/buildkit")
    /// The folder with inputs and right answers.
    package static let vectors = folder.appending(path: "spec/vectors")

    /// `Tests/Fixtures`: files of this repository, which are not in the archive.
    package static let repository = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "Fixtures")

    private static let folder: URL = {
        do { return try unpack() } catch { fatalError("the fixtures cannot be unpacked: \(error)") }
    }()

    private struct Unusable: Error, CustomStringConvertible {
        var description: String
    }

    private static func unpack() throws -> URL {
        let package = repository.deletingLastPathComponent().deletingLastPathComponent()
        let archive = repository.appending(path: "fixtures.tar.zst")
        let compressed = try Data(contentsOf: archive)
        let version = String(checksum(compressed), radix: 16)
        let target = package.appending(path: ".build/fixtures-\(version)")
        let files = FileManager.default
        if files.fileExists(atPath: target.path) { return target }

        let own = package.appending(path: ".build/fixtures-\(version)-\(UUID().uuidString)")
        try files.createDirectory(at: own, withIntermediateDirectories: true)
        let tar = own.appending(path: "fixtures.tar")
        try decompress(compressed).write(to: tar)
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = ["tar", "-xf", tar.path, "-C", own.path]
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw Unusable(description: "tar failed on \(archive.path)") }
        try files.removeItem(at: tar)
        do { try files.moveItem(at: own, to: target) } catch {
            // Another process was faster.
            try files.removeItem(at: own)
            guard files.fileExists(atPath: target.path) else { throw error }
        }
        return target
    }

    /// FNV-1a.
    private static func checksum(_ data: Data) -> UInt64 {
        data.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
    }

    private static func decompress(_ data: Data) throws -> Data {
        try data.withUnsafeBytes { compressed in
            let size = ZSTD_getFrameContentSize(compressed.baseAddress, compressed.count)
            guard size < 1 << 30 else { throw Unusable(description: "the archive does not tell its size") }
            var bytes = Data(count: Int(size))
            let count = bytes.withUnsafeMutableBytes {
                ZSTD_decompress($0.baseAddress, $0.count, compressed.baseAddress, compressed.count)
            }
            guard count == bytes.count else { throw Unusable(description: "the archive is damaged") }
            return bytes
        }
    }
}
