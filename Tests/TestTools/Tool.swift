import Foundation
import Subprocess

#if canImport(System)
    import System
#else
    import SystemPackage
#endif

/// A program that tests run, on this machine or beside the tests.
///
/// Foundation's `Process` is not for this: it crashed when two tests started one each at the same moment, and what it starts has
/// for a moment a copy of every open file, locks included.
package struct Tool: Sendable, CustomStringConvertible {
    package static let gzip = Tool("gzip")
    package static let zstd = Tool("zstd")
    package static let tar = Tool("tar")
    package static let python = Tool("python3")
    package static let skopeo = Tool("skopeo")
    package static let umoci = Tool("umoci")

    /// Its name or path.
    package let description: String
    package let path: String?

    /// One that the shell would find.
    package init(_ name: String) {
        description = name
        let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
        path = folders.lazy.map { "\($0)/\(name)" }.first { FileManager.default.isExecutableFile(atPath: $0) }
    }

    /// One at a path.
    package init(path: String) {
        description = path
        self.path = path
    }

    /// An executable of this package, which stands beside the tests.
    package static func built(_ name: String) -> Tool {
        // The tests are a bundle on macOS, and an executable elsewhere.
        let bundle = Bundle.allBundles.first { $0.bundlePath.hasSuffix(".xctest") }?.bundleURL
        let tests = bundle ?? URL(fileURLWithPath: CommandLine.arguments[0])
        return Tool(path: tests.deletingLastPathComponent().appending(path: name).path)
    }

    package var isInstalled: Bool { path != nil }

    /// What it prints; any other end than success is an error.
    package func output(_ arguments: String..., input: [UInt8] = []) async throws -> [UInt8] {
        try await output(arguments, input: input)
    }

    /// What it prints; any other end than success is an error.
    ///
    /// - Parameter environment: Variables that it gets beside those of this process.
    package func output(
        _ arguments: [String], input: [UInt8] = [], environment: [String: String] = [:]
    ) async throws -> [UInt8] {
        guard let path else { throw ToolFailure(tool: description, end: .notInstalled) }
        let variables = environment.map { (Environment.Key(stringLiteral: $0.key), Optional($0.value)) }
        let result = try await Subprocess.run(
            .path(FilePath(path)), arguments: Arguments(arguments),
            environment: .inherit.updating(Dictionary(uniqueKeysWithValues: variables)), input: .array(input),
            output: .bytes(limit: 1 << 30), error: .discarded)
        switch result.terminationStatus {
        case .exited(0): return result.standardOutput
        case .exited(let status): throw ToolFailure(tool: description, end: .exited(status))
        case .signaled(let signal): throw ToolFailure(tool: description, end: .killed(signal))
        }
    }
}

/// How a program failed.
package struct ToolFailure: Error {
    package enum End: Hashable, Sendable {
        case notInstalled
        case exited(CInt)
        case killed(CInt)
    }

    package var tool: String
    package var end: End

    package init(tool: String, end: End) {
        self.tool = tool
        self.end = end
    }
}
