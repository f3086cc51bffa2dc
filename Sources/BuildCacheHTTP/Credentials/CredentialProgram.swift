package import BuildCacheCore
import CPipe
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

/// A program that prints credentials, as `docker-credential-pass`, `az`, or the one that a `credential_process` names.
package struct CredentialProgram: Sendable {
    /// The end of a program.
    package struct Ending: Sendable {
        package var isSuccess: Bool
        /// As in `exited(1)`.
        package var status: String
        /// The bytes on its standard output; may be secret.
        package var output: [UInt8]
        /// The first lines on its standard error.
        package var errors: String
    }

    private static let outputLimit = 1 << 20
    private static let errorLimit = 64 << 10

    /// The longest time that a program may take, default 60 seconds: long enough to unlock a key store or to ask a service.
    package var timeLimit = Duration.seconds(60)
    /// Measures ``timeLimit``.
    package var clock: any Clock<Duration> = ContinuousClock()

    /// As errors call it.
    private let name: String
    private let path: String

    /// The program at a path.
    package init(name: String, path: String) {
        self.name = name
        self.path = path
    }

    /// The program of this name in `PATH`, or `nil`.
    package init?(named name: String, in environment: BuildCacheCore.Environment) {
        let paths: [String] = (environment["PATH"] ?? "").split(separator: ":").map { "\($0)/\(name)" }
        guard let path = paths.first(where: { access($0, X_OK) == 0 }) else { return nil }
        self.init(name: name, path: path)
    }

    /// Runs the program to its end; a cancelled task, and ``timeLimit``, end it.
    ///
    /// - Parameter input: The bytes on its standard input, at most 4096.
    /// - Throws: `CacheError` `.unavailable` if it cannot be run or takes too long, `.limitExceeded` for too long an input.
    package func run(_ arguments: [String], input: String = "") async throws -> Ending {
        try await run(arguments) { try CredentialProgram.pipe(holding: input) }
    }

    /// As ``run(_:input:)``, with an input of any length, which is kept in a temporary file without a name.
    package func run(_ arguments: [String], document: [UInt8]) async throws -> Ending {
        try await run(arguments) { try CredentialProgram.file(holding: document) }
    }

    private func run(
        _ arguments: [String], from open: @escaping @Sendable () throws -> FileDescriptor
    ) async throws -> Ending {
        do {
            return try await withTimeLimit(timeLimit, clock: clock) {
                let result = try await Subprocess.run(
                    .path(FilePath(path)), arguments: Arguments(arguments),
                    input: .fileDescriptor(try open(), closeAfterSpawningProcess: true),
                    output: .bytes(limit: CredentialProgram.outputLimit),
                    error: .string(limit: CredentialProgram.errorLimit))
                return Ending(
                    isSuccess: result.terminationStatus == .exited(0), status: "\(result.terminationStatus)",
                    output: result.standardOutput, errors: result.standardError)
            }
        } catch let error as CacheError {
            throw error
        } catch let error as TimeLimitPassed {
            throw CacheError(
                .unavailable,
                "\(name) did not end within \(error.limit) and was stopped; run it by hand to see what it waits for")
        } catch {
            try Task.checkCancellation()
            throw CacheError(.unavailable, "\(name) cannot be run: \(shortDescription(of: error))")
        }
    }

    /// The end to read of a pipe that holds a text already.
    ///
    /// Not written while the program runs: one that ends without reading would break the pipe, which Subprocess does not survive.
    private static func pipe(holding text: String) throws -> FileDescriptor {
        let bytes = Array(text.utf8)
        // The least that a pipe holds on any system.
        guard bytes.count <= 4096 else {
            throw CacheError(.limitExceeded, "the input of a credential program is longer than 4096 bytes")
        }
        let (reading, writing) = try closedOnExecution()
        do {
            try writing.closeAfter { _ = try writing.writeAll(bytes) }
            return reading
        } catch {
            try reading.close()
            throw error
        }
    }

    /// A file that holds some bytes and is gone when the program ends; unlike a pipe it takes any number of them.
    private static func file(holding bytes: [UInt8]) throws -> FileDescriptor {
        let folder = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        var template = Array("\(folder)/build-cache-XXXXXX".utf8CString)
        let file = FileDescriptor(rawValue: mkstemp(&template))
        guard file.rawValue >= 0 else { throw Errno(rawValue: errno) }
        unlink(template)
        do {
            _ = fcntl(file.rawValue, F_SETFD, FD_CLOEXEC)
            _ = try file.writeAll(bytes)
            _ = try file.seek(offset: 0, from: .start)
            return file
        } catch {
            try file.close()
            throw error
        }
    }

    /// A pipe whose ends no other program inherits that is started at the same time.
    private static func closedOnExecution() throws -> (reading: FileDescriptor, writing: FileDescriptor) {
        #if canImport(Darwin)
            // Darwin lacks pipe2. Subprocess passes on only the descriptors that it is given, but a program that other code starts may inherit one before fcntl runs.
            let (reading, writing) = try FileDescriptor.pipe()
            for end in [reading, writing] { _ = fcntl(end.rawValue, F_SETFD, FD_CLOEXEC) }
            return (reading, writing)
        #else
            var ends: [CInt] = [-1, -1]
            guard pipe2(&ends, O_CLOEXEC) == 0 else { throw Errno(rawValue: errno) }
            return (FileDescriptor(rawValue: ends[0]), FileDescriptor(rawValue: ends[1]))
        #endif
    }
}
