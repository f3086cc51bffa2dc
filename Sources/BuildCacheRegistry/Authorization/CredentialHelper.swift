import BuildCacheCore
import BuildCacheHTTP

/// A program that keeps credentials, as `docker-credential-pass`.
///
/// - Source: docker/docker-credential-helpers, "Development"; `Documentation/Spec/backends.md` §1.3.
struct CredentialHelper: Sendable {
    var name: String

    /// The words of the program when it knows nothing.
    private static let notFound = "credentials not found in native keychain"

    func credential(for key: String, _ environment: Environment) async throws -> RegistryCredential? {
        // The name comes from a file and becomes part of a program's: it must not lead elsewhere.
        guard !name.isEmpty, name.allSatisfy({ $0.isLetter || $0.isNumber || "-_.".contains($0) }) else {
            throw CacheError(
                .invalidSpec, "Docker's configuration names a credential helper that is not the name of a program")
        }
        let program = "docker-credential-\(name)"
        guard let helper = CredentialProgram(named: program, in: environment) else {
            throw CacheError(
                .unavailable,
                "\(program), which Docker's configuration names, is not installed: install it or log in without")
        }
        let ending = try await helper.run(["get"], input: key)
        guard ending.isSuccess else {
            // It prints its errors where its answers go.
            let said = String(decoding: ending.output.prefix(200), as: UTF8.self)
            if said.contains(Self.notFound) { return nil }
            throw CacheError(.denied, "\(program) has no credentials for \(key): it ended with \(ending.status)")
        }
        return try Self.credential(ending.output, program)
    }

    private static func credential(_ output: [UInt8], _ program: String) throws(CacheError) -> RegistryCredential? {
        let user: String?
        let secret: String?
        do {
            (user, secret) = try JSONReader.read(output, as: "answer") { reader throws(CacheError) in
                var found: (user: String?, secret: String?)
                guard try reader.beginObject() else { return found }
                while let key = try reader.nextKey() {
                    switch key {
                    case "username": found.user = try reader.string()
                    case "secret": found.secret = try reader.nonEmptyString()
                    default: try reader.skipValue()
                    }
                }
                return found
            }
        } catch {
            // Not with the error's own words: they may quote the secret.
            throw CacheError(.corrupted, "\(program) answers with something else than JSON")
        }
        guard let user, let secret else { return nil }
        return user == "<token>" ? .identityToken(Secret(secret)) : .password(user: user, Secret(secret))
    }
}
