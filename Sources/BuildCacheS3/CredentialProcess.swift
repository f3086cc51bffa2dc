import BuildCacheCore
import Subprocess

#if canImport(System)
    import System
#else
    import SystemPackage
#endif

/// A program that a profile names and that prints credentials: `credential_process`.
///
/// - Source: AWS, "Source credentials with an external process".
struct CredentialProcess: Sendable {
    /// For the shell, as the file has it: whoever writes that file may run programs.
    var command: String
    var profile: String

    private static let outputLimit = 1 << 20

    func credentials() async throws -> AWSCredentials {
        let output: [UInt8]
        do {
            let result = try await Subprocess.run(
                .path("/bin/sh"), arguments: ["-c", command], input: .none,
                output: .bytes(limit: CredentialProcess.outputLimit), error: .discarded)
            guard case .exited(0) = result.terminationStatus else {
                // What it printed may be secret, so it is not repeated.
                throw CacheError(
                    .denied, "the credential_process of profile \"\(profile)\" ended with \(result.terminationStatus)")
            }
            output = result.standardOutput
        } catch let error as CacheError {
            throw error
        } catch {
            try Task.checkCancellation()
            throw CacheError(
                .unavailable, "the credential_process of profile \"\(profile)\" cannot be run: \(error)", cause: error)
        }
        let source = "the credential_process of profile \"\(profile)\""
        let values = try JSONText.values(output, source)
        guard values["version"] == "1" else {
            throw CacheError(.unsupported, "\(source) answers with another version than 1")
        }
        return try AWSCredentials(from: source) { values[$0.lowercased()] }
    }
}
