import BuildCacheCore
package import BuildCacheSpec
import Subprocess

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif
#if canImport(System)
    import System
#else
    import SystemPackage
#endif

/// A program that prints credentials, as `docker-credential-pass`, `az`, or what a `credential_process` names.
package struct CredentialProgram: Sendable {
    /// What a program left when it ended.
    package struct Ending: Sendable {
        package var isSuccess: Bool
        /// As in `exited(1)`.
        package var status: String
        /// What it printed; may be secret.
        package var output: [UInt8]
        /// The first lines of what it printed as errors.
        package var errors: String
    }

    private static let outputLimit = 1 << 20
    private static let errorLimit = 64 << 10

    /// As errors call it.
    private let name: String
    private let path: String

    /// The program at a path.
    package init(name: String, path: String) {
        self.name = name
        self.path = path
    }

    /// The program of this name in `PATH`, or `nil`.
    package init?(named name: String, in environment: BuildCacheSpec.Environment) {
        let paths: [String] = (environment["PATH"] ?? "").split(separator: ":").map { "\($0)/\(name)" }
        guard let path = paths.first(where: { access($0, X_OK) == 0 }) else { return nil }
        self.init(name: name, path: path)
    }

    /// Runs the program to its end; a cancelled task ends it.
    ///
    /// - Parameter input: What it reads, at most 4096 bytes.
    /// - Throws: `CacheError` `.unavailable` if it cannot be run, `.limitExceeded` for too long an input.
    package func run(_ arguments: [String], input: String = "") async throws -> Ending {
        do {
            let result = try await Subprocess.run(
                .path(FilePath(path)), arguments: Arguments(arguments),
                input: .fileDescriptor(try CredentialProgram.pipe(holding: input), closeAfterSpawningProcess: true),
                output: .bytes(limit: CredentialProgram.outputLimit),
                error: .string(limit: CredentialProgram.errorLimit))
            return Ending(
                isSuccess: result.terminationStatus == .exited(0), status: "\(result.terminationStatus)",
                output: result.standardOutput, errors: result.standardError)
        } catch let error as CacheError {
            throw error
        } catch {
            try Task.checkCancellation()
            throw CacheError(.unavailable, "\(name) cannot be run: \(error)", cause: error)
        }
    }

    /// The end to read of a pipe that holds a text already.
    ///
    /// Not written while the program runs: one that ends without reading would break the pipe, which Subprocess does not survive.
    private static func pipe(holding text: String) throws -> FileDescriptor {
        let bytes = Array(text.utf8)
        // What every pipe holds at least.
        guard bytes.count <= 4096 else {
            throw CacheError(.limitExceeded, "what a program of credentials is asked for is too long")
        }
        let (reading, writing) = try FileDescriptor.pipe()
        for end in [reading, writing] { _ = fcntl(end.rawValue, F_SETFD, FD_CLOEXEC) }
        do {
            try writing.closeAfter { _ = try writing.writeAll(bytes) }
            return reading
        } catch {
            try reading.close()
            throw error
        }
    }
}
