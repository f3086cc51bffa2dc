import BuildCacheCore
import BuildCacheHTTP
import NIOHTTP1

/// The identity that Azure gives to a machine or an app.
///
/// - Source: Azure, "How to use managed identities to get an access token"; `Documentation/Spec/backends.md` §6.3.
struct ManagedIdentity: Sendable {
    private let environment: Environment
    private let transport: HTTPTransport
    /// The directory of the agent of Azure Arc, `nil` for its own.
    var arcFolder: String?

    /// How long a machine may take to say that it has none.
    private static let probeTimeout = Duration.seconds(1)
    private static let answerLimit = 1 << 20

    init(_ environment: Environment, _ transport: HTTPTransport) {
        self.environment = environment
        self.transport = transport
    }

    /// A token, or `nil` if this is no machine of Azure's.
    ///
    /// - Parameter isExpected: Whether somebody asked for this identity, so that its absence is an error.
    func token(isExpected: Bool) async throws -> AzureToken? {
        var query = [("resource", AzureCredentials.resource)]
        if let client = variable("AZURE_CLIENT_ID") { query.append(("client_id", client)) }

        if let address = variable("IDENTITY_ENDPOINT") {
            let url = try parse(address, "IDENTITY_ENDPOINT")
            if let header = variable("IDENTITY_HEADER") {
                guard let thumbprint = variable("IDENTITY_SERVER_THUMBPRINT") else {
                    var request = OutgoingRequest(.GET, try url.adding([("api-version", "2019-08-01")] + query))
                    try request.credentials.set("X-IDENTITY-HEADER", Secret(header))
                    return try await read(try await transport.send(request))
                }
                try checkHasOneIdentity("Service Fabric", "an application")
                let fabric = ServiceFabricIdentity(
                    service: url, thumbprint: thumbprint, secret: Secret(header), transport: transport)
                return try await read(try await fabric.response())
            }
            if variable("IMDS_ENDPOINT") != nil {
                try checkHasOneIdentity("Azure Arc", "a machine")
                var arc = ArcIdentity(agent: url, transport: transport)
                if let arcFolder { arc.folder = arcFolder }
                return try await read(try await arc.response())
            }
        }
        let host = variable("AZURE_POD_IDENTITY_AUTHORITY_HOST") ?? "http://169.254.169.254"
        let url = try parse(host, "AZURE_POD_IDENTITY_AUTHORITY_HOST").appending("/metadata/identity/oauth2/token")
            .adding([("api-version", "2018-02-01")] + query)
        let request = OutgoingRequest(.GET, url, headers: ["Metadata": "true"])
        if !isExpected, try await !answers(url) { return nil }
        let response = try await transport.send(request)
        // A machine without an identity says 400.
        if response.status == .badRequest, !isExpected {
            await response.discard()
            return nil
        }
        return try await read(response)
    }

    private func parse(_ text: String, _ variable: String) throws(CacheError) -> ServiceURL {
        do { return try ServiceURL(text) } catch {
            throw CacheError(.invalidSpec, "invalid \(variable): \(error.message)")
        }
    }

    /// Refuses the choice of an identity where there is one only: another one than the wanted would be used.
    ///
    /// - Throws: `CacheError` `.unsupported`.
    private func checkHasOneIdentity(_ platform: String, _ owner: String) throws(CacheError) {
        guard variable("AZURE_CLIENT_ID") != nil else { return }
        throw CacheError(
            .unsupported, "\(platform) gives \(owner) one identity: unset AZURE_CLIENT_ID, which names another one")
    }

    private func variable(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }

    private func read(_ response: IncomingResponse) async throws -> AzureToken {
        guard response.status == .ok else {
            var error = await response.failure().error
            error.message = "the managed identity gives no token: " + error.message
            throw error
        }
        return try AzureToken(answer: try await response.collect(upTo: ManagedIdentity.answerLimit), now: .now())
    }

    /// Whether the service exists: without the header that it wants, it responds at once with a refusal.
    private func answers(_ url: ServiceURL) async throws -> Bool {
        var probe = transport
        probe.stallTimeout = ManagedIdentity.probeTimeout
        return try await probe.isAnswered(OutgoingRequest(.GET, url))
    }
}
