import BuildCacheCore
import BuildCacheHTTP

/// A program that a profile names and that prints credentials: `credential_process`.
///
/// - Source: AWS, "Source credentials with an external process".
struct CredentialProcess: Sendable {
    /// For the shell, as the file has it: a writer of that file may run programs.
    var command: String
    var profile: String

    func credentials() async throws -> AWSCredentials {
        let source = "the credential_process of profile \"\(profile)\""
        let ending = try await CredentialProgram(name: source, path: "/bin/sh").run(["-c", command])
        // What it printed may be secret, so it is not repeated.
        guard ending.isSuccess else { throw CacheError(.denied, "\(source) ended with \(ending.status)") }
        let values = try JSONText.values(ending.output, source)
        guard values["version"] == "1" else {
            throw CacheError(.unsupported, "\(source) answers with another version than 1")
        }
        return try AWSCredentials(from: source) { values[$0.lowercased()] }
    }
}
