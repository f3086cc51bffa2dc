import BuildCacheCore
import BuildCacheHTTP
import BuildCacheSpec

/// The identity of whoever logged in with `az login`.
struct AzureCLI: Sendable {
    private let environment: Environment

    init(_ environment: Environment) { self.environment = environment }

    /// A token, or `nil` if `az` is not installed or nobody is logged in.
    func token() async throws -> AzureToken? {
        guard let program = CredentialProgram(named: "az", in: environment) else { return nil }
        let ending = try await program.run([
            "account", "get-access-token", "-o", "json", "--resource", AzureCredentials.resource,
        ])
        guard ending.isSuccess else {
            let said = ending.errors.split(whereSeparator: \.isWhitespace).joined(separator: " ")
            if said.contains("az login") { return nil }
            throw CacheError(.denied, "az gives no token for storage: \(said.prefix(300))")
        }
        return try AzureToken(answer: ending.output, now: .now())
    }
}
