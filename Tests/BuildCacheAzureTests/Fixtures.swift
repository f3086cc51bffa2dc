import Foundation

/// The files that BuildKit wrote, if they are there.
enum Fixtures {
    static let root: String = {
        let package = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let shared =
            ProcessInfo.processInfo.environment["BUILD_CACHE_FIXTURES"].map { URL(fileURLWithPath: $0) }
            ?? package.appending(path: "../shared/fixtures").standardized
        return shared.path + "/buildkit"
    }()
}
