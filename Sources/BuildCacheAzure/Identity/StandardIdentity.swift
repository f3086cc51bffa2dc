import BuildCacheBytes
import BuildCacheCore
import BuildCacheHTTP
import NIOCore

/// Finds an identity where Azure's libraries look for one, in their order.
///
/// - Source: Azure Identity, "DefaultAzureCredential"; `Documentation/Spec/backends.md` §6.3.
struct StandardIdentity: Sendable {
    private let environment: Environment
    private let transport: HTTPTransport
    private let endpoint: TokenEndpoint

    init(_ environment: Environment, _ transport: HTTPTransport) {
        self.environment = environment
        self.transport = transport
        endpoint = TokenEndpoint(environment, transport)
    }

    /// One place to look.
    private struct Place {
        /// As `AZURE_TOKEN_CREDENTIALS` writes it.
        var name: String
        var isForProduction: Bool
        /// A token, or `nil` if this place is not set up here.
        var token: @Sendable () async throws -> AzureToken?
    }

    func token() async throws -> AzureToken {
        let wanted = environment["AZURE_TOKEN_CREDENTIALS"]?.lowercased() ?? ""
        var places = [
            Place(name: "environmentcredential", isForProduction: true, token: environmentToken),
            Place(name: "workloadidentitycredential", isForProduction: true, token: workloadToken),
            Place(name: "managedidentitycredential", isForProduction: true) { [environment, transport] in
                // Asked for by name it must be there, else a second decides.
                try await ManagedIdentity(environment, transport).token(isExpected: wanted.hasPrefix("managed"))
            },
        ]
        let programs = [
            ("azureclicredential", AzureProgram.cli), ("azuredeveloperclicredential", .developerCLI),
            ("azurepowershellcredential", .powerShell),
        ]
        for (name, program) in programs {
            places.append(
                Place(name: name, isForProduction: false) { [environment] in try await program.token(environment) })
        }
        switch wanted {
        case "": break
        case "prod": places.removeAll { !$0.isForProduction }
        case "dev": places.removeAll { $0.isForProduction }
        default:
            places.removeAll { $0.name != wanted }
            guard !places.isEmpty else {
                throw CacheError(
                    .invalidSpec,
                    "AZURE_TOKEN_CREDENTIALS names no credential that is known here: dev, prod, EnvironmentCredential, "
                        + "WorkloadIdentityCredential, ManagedIdentityCredential, AzureCLICredential, "
                        + "AzureDeveloperCLICredential or AzurePowerShellCredential are")
            }
        }
        for place in places {
            if let token = try await place.token() { return token }
        }
        throw CacheError(
            .denied,
            "there are no credentials for Azure: set secret_access_key, put a shared access signature into account_url, set "
                + "AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or log in with az login, azd auth login or "
                + "Connect-AzAccount")
    }

    private func variable(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }

    // MARK: Places

    @Sendable private func environmentToken() async throws -> AzureToken? {
        guard let tenant = variable("AZURE_TENANT_ID"), let client = variable("AZURE_CLIENT_ID") else { return nil }
        if let secret = variable("AZURE_CLIENT_SECRET") {
            return try await endpoint.token(tenant: tenant, client: client, secret: ("client_secret", Secret(secret)))
        }
        guard let path = variable("AZURE_CLIENT_CERTIFICATE_PATH") else { return nil }
        let password = Secret(environment["AZURE_CLIENT_CERTIFICATE_PASSWORD"] ?? "")
        let certificate = try ClientCertificate(try await read(path), path: path, password: password)
        let assertion = try certificate.assertion(
            audience: try endpoint.url(tenant: tenant).base, client: client, now: .now())
        return try await endpoint.token(tenant: tenant, client: client, assertion: assertion)
    }

    @Sendable private func workloadToken() async throws -> AzureToken? {
        guard let tenant = variable("AZURE_TENANT_ID"), let client = variable("AZURE_CLIENT_ID"),
            let path = variable("AZURE_FEDERATED_TOKEN_FILE")
        else { return nil }
        // The file is written anew from time to time, so it is read each time.
        let text = String(decoding: try await read(path), as: UTF8.self)
        let assertion = text.split(whereSeparator: \.isWhitespace).joined()
        return try await endpoint.token(tenant: tenant, client: client, assertion: Secret(assertion))
    }

    private static let fileLimit: Int64 = 1 << 20

    private func read(_ path: String) async throws -> [UInt8] {
        try await Workers.files.run {
            let file = try OpenFile(reading: path)
            guard file.size <= StandardIdentity.fileLimit else {
                throw CacheError(.limitExceeded, "\(path) is larger than a token or a certificate")
            }
            return Array(try file.read(0..<file.size).readableBytesView)
        }
    }
}
