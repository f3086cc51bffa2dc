import BuildCacheCore
import BuildCacheHTTP

/// A program of Azure's for developers that prints tokens of the user who logged in with it.
///
/// - Source: Azure Identity, "AzureCLICredential", "AzureDeveloperCLICredential", "AzurePowerShellCredential".
struct AzureProgram: Sendable {
    /// The name in `PATH`.
    private let name: String
    private let arguments: [String]
    /// Words of an error that mean that no user is logged in, or that the program has no part for it.
    private let absences: [String]

    /// The Azure CLI: `az login`.
    static let cli = AzureProgram(
        name: "az",
        arguments: ["account", "get-access-token", "-o", "json", "--resource", AzureCredentials.resource],
        absences: ["az login"])

    /// The Azure Developer CLI: `azd auth login`.
    static let developerCLI = AzureProgram(
        name: "azd",
        arguments: ["auth", "token", "-o", "json", "--no-prompt", "--scope", AzureCredentials.resource + "/.default"],
        absences: ["azd auth login"])

    /// Azure PowerShell: `Connect-AzAccount`.
    ///
    /// Newer versions give the token as a secure string.
    static let powerShell = AzureProgram(
        name: "pwsh",
        arguments: [
            "-NoProfile", "-NonInteractive", "-Command",
            """
            $ErrorActionPreference = 'Stop'
            Import-Module Az.Accounts -MinimumVersion 2.2.0
            $answer = Get-AzAccessToken -ResourceUrl '\(AzureCredentials.resource)' -WarningAction SilentlyContinue
            $token = $answer.Token
            if ($token -is [securestring]) { $token = [System.Net.NetworkCredential]::new('', $token).Password }
            @{ access_token = $token; expires_on = $answer.ExpiresOn.ToUnixTimeSeconds() } | ConvertTo-Json -Compress
            """,
        ],
        absences: ["Connect-AzAccount", "Az.Accounts"])

    /// A token, or `nil` if the program is not installed or no user is logged in.
    ///
    /// - Throws: `CacheError` `.denied` if it fails in another way, `.unavailable` if it cannot be run or takes longer than a minute,
    ///   `.corrupted` if it prints anything but a token.
    func token(_ environment: Environment) async throws -> AzureToken? {
        guard let program = CredentialProgram(named: name, in: environment) else { return nil }
        let ending = try await program.run(arguments)
        guard ending.isSuccess else {
            let said = ending.errors.split(whereSeparator: \.isWhitespace).joined(separator: " ")
            // azd says it in JSON on its standard output.
            let all = said + String(decoding: ending.output, as: UTF8.self)
            if absences.contains(where: { all.contains($0) }) { return nil }
            throw CacheError(.denied, "\(name) gives no token for storage: \(said.prefix(300))")
        }
        return try AzureToken(answer: ending.output, now: .now())
    }
}
