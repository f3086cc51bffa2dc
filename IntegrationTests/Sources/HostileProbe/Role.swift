@testable import BuildCacheHTTP
@testable import BuildCacheGitHubActions
@testable import BuildCacheClient
@testable import BuildCacheS3
@testable import BuildCacheRegistry
@testable import BuildCache
@testable import BuildCacheTestServers
import Foundation
import Synchronization
@testable import TestServers

/// A server that a cache asks.
///
/// Some stand beside the one that stores: these hand out what it is asked with.
enum Role: String, CaseIterable, Sendable {
    case registry = "a registry"
    case registryInParts = "a registry that takes layers in parts"
    case registryTokens = "the token server of a registry"
    case bucket = "a service that speaks S3"
    case securityTokens = "the token service of AWS"
    case containerCredentials = "the credentials service of a container"
    case instanceMetadata = "the metadata service of an instance of AWS"
    case account = "a storage account"
    case signedAccount = "a storage account whose URL is signed"
    case entra = "the token server of Azure"
    case managedIdentity = "the identity service of an app"
    case azureMetadata = "the metadata service of a machine of Azure"
    case github1 = "version 1 of GitHub's cache service"
    case github2 = "version 2 of GitHub's cache service"
    case githubAPI = "GitHub's REST API"

    /// Whether layers are there.
    var stores: Bool {
        [.registry, .registryInParts, .bucket, .account, .signedAccount, .github1, .github2].contains(self)
    }

    /// Whether a request is one to this server, of those that come in at the one address.
    func isAsked(_ request: ServerRequest) -> Bool {
        let path = request.path
        return switch self {
        case .registry, .registryInParts: path != "/token"
        case .registryTokens: path == "/token"
        case .bucket: path.hasPrefix("/cache")
        case .securityTokens: path == "/"
        case .containerCredentials: path == "/container"
        case .instanceMetadata: path.hasPrefix("/latest/")
        case .account, .signedAccount: path.hasPrefix("/devaccount")
        case .entra: path.hasSuffix("/oauth2/v2.0/token")
        case .managedIdentity: path == "/identity"
        case .azureMetadata: path.hasPrefix("/metadata/")
        case .github1, .github2: !path.hasPrefix("/repos/")
        case .githubAPI: path.hasPrefix("/repos/")
        }
    }

    /// The servers as they should be, without anything stored.
    func makeService() throws -> Service {
        switch self {
        case .registry, .registryInParts, .registryTokens: registryService()
        case .bucket, .securityTokens, .containerCredentials, .instanceMetadata: bucketService()
        case .account, .signedAccount, .entra, .managedIdentity, .azureMetadata: try azureService()
        case .github1, .github2, .githubAPI: try githubService()
        }
    }
}

/// The place and the means of one cache.
struct Site: Sendable {
    /// The servers, as `host:port`.
    var address: String
    var transport: HTTPTransport
    var scratch: ScratchStore
    /// The clock of pauses.
    var clock: any Clock<Duration>
}

/// The servers of one backend, and caches there.
struct Service: Sendable {
    var respond: @Sendable (ServerRequest) async throws -> ServerResponse
    /// The secrets, which no log, error or other host may see.
    var secrets: [String]
    /// A cache under a name.
    var cache: @Sendable (_ name: String, Site) throws -> any PrunableBackend
}

private let export = ExportOptions(mode: .max)

// MARK: Registries

extension Role {
    private func registryService() -> Service {
        let gate = LoginGate(.token(takesPost: false), FakeRegistry().respond)
        let password = LoginGate.password
        let login = "\(LoginGate.user):\(password)"
        return Service(
            respond: { try await gate.respond($0) },
            secrets: [
                password, password.replacing(" ", with: "%20").replacing("&", with: "%26"),
                Data(login.utf8).base64EncodedString(),
            ]
                + (1..<10).map { "token-\($0)" }
        ) { name, site in
            let profile = self == .registryInParts ? RegistryProfile(upload: .chunks(1000)) : nil
            let settings = RegistrySettings(
                hosts: [site.address: RegistryHost(plainHTTP: true, profile: profile)],
                credentials: RegistryCredentials { _ in .password(user: LoginGate.user, Secret(password)) },
                hostDirectories: [])
            var client = RegistryClient(settings: settings, transport: site.transport)
            if profile != nil { client.resumableSize = 1000 }
            return RegistryCache(
                RegistryOptions(ref: try Reference("\(site.address)/app:\(name)")), export: export,
                scratch: site.scratch, client: client)
        }
    }
}

// MARK: S3

extension Role {
    private func bucketService() -> Service {
        let bucket = BucketServer()
        let lent = [
            ("AccessKeyId", "id"), ("SecretAccessKey", "lent-secret"), ("SessionToken", "lent-session"),
            ("Token", "lent-session"), ("Expiration", "2099-01-01T00:00:00Z"),
        ]
        let json = "{" + lent.map { "\"\($0.0)\":\"\($0.1)\"" }.joined(separator: ",") + #","Code":"Success"}"#
        let xml = lent.map { "<\($0.0)>\($0.1)</\($0.0)>" }.joined()
        return Service(
            respond: { request in
                if request.path == "/" {
                    return ServerResponse(
                        200,
                        body: Array(
                            "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\(xml)</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
                                .utf8))
                }
                if request.path == "/container" { return ServerResponse(200, json: json) }
                if request.path == "/latest/api/token" {
                    return ServerResponse(200, body: Array("lent-metadata".utf8))
                }
                if request.path.hasSuffix("/security-credentials/") {
                    return ServerResponse(200, body: Array("role".utf8))
                }
                if request.path.hasPrefix("/latest/") { return ServerResponse(200, json: json) }
                return try await bucket.respond(request)
            },
            secrets: [
                "lent-secret", "lent-session", "lent-metadata", "container-token", "identity-token", "given-secret",
                "given-session",
            ]
        ) { name, site in
            let origin = "http://\(site.address)"
            var options = S3Options(bucket: "cache", region: "eu-west-1", names: [name])
            options.endpointURL = try ServiceURL(origin)
            options.usePathStyle = true
            var variables: [String: String] = [:]
            if self != .instanceMetadata { variables["AWS_EC2_METADATA_DISABLED"] = "true" }
            switch self {
            case .securityTokens:
                let file = NSTemporaryDirectory() + "build-cache-hostile-\(getpid())"
                try "identity-token".write(toFile: file, atomically: true, encoding: .utf8)
                variables.merge([
                    "AWS_ENDPOINT_URL_STS": origin, "AWS_ROLE_ARN": "arn:aws:iam::1:role/r",
                    "AWS_WEB_IDENTITY_TOKEN_FILE": file,
                ]) { $1 }
            case .containerCredentials:
                variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = "\(origin)/container"
                variables["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = "container-token"
            case .instanceMetadata: variables["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = origin
            default:
                options.accessKeyID = "id"
                options.secretAccessKey = Secret("given-secret")
                options.sessionToken = Secret("given-session")
            }
            var client = S3Client(environment: Environment(variables), transport: site.transport)
            // Small layers in parts, too.
            (client.parts.threshold, client.parts.size) = (1000, 1000)
            return S3Cache(options, export: export, scratch: site.scratch, client: client)
        }
    }
}

// MARK: Azure

extension Role {
    private func azureService() throws -> Service {
        let server = try AzureBlobServer()
        server.accept(token: "entra-token")
        server.put([], as: "made", in: "cache")
        let end = Timestamp(seconds: 4_102_444_800) ?? .zero
        let signature = try server.signedURL(
            container: "cache", permissions: "rcwdl", expires: end, base: try ServiceURL("http://127.0.0.1/devaccount"))
        let query = signature.exposed.drop { $0 != "?" }
        let sig = query.split(separator: "&").first { $0.contains("sig=") }.map {
            String($0.trimmingPrefix("?").dropFirst(4))
        }
        return Service(
            respond: { request in
                if request.path.hasSuffix("/oauth2/v2.0/token") || request.path == "/identity"
                    || request.path.hasPrefix("/metadata/")
                {
                    guard request.path != "/metadata/identity/oauth2/token" || request.headers["metadata"] != nil else {
                        return ServerResponse(400)
                    }
                    return ServerResponse(200, json: #"{"access_token":"entra-token","expires_in":3600}"#)
                }
                return try await server.respond(to: request)
            },
            secrets: ["entra-token", "client-secret", "identity-header", server.key.exposed]
                + (sig.map { [$0, $0.removingPercentEncoding ?? $0] } ?? [])
        ) { name, site in
            let origin = "http://\(site.address)"
            let url = try ServiceURL("\(origin)/devaccount\(self == .signedAccount ? String(query) : "")")
            var variables = ["BUILDKIT_AZURE_STORAGE_ACCOUNT_URL": origin]
            switch self {
            case .managedIdentity:
                variables.merge(["IDENTITY_ENDPOINT": "\(origin)/identity", "IDENTITY_HEADER": "identity-header"]) {
                    $1
                }
            case .azureMetadata: variables["AZURE_POD_IDENTITY_AUTHORITY_HOST"] = origin
            default:
                variables.merge([
                    "AZURE_TENANT_ID": "tenant", "AZURE_CLIENT_ID": "client", "AZURE_CLIENT_SECRET": "client-secret",
                    "AZURE_AUTHORITY_HOST": origin,
                ]) { $1 }
            }
            // Without it a command-line tool would be asked.
            variables["AZURE_TOKEN_CREDENTIALS"] = "prod"
            let environment = Environment(variables)
            let client = AzureClient(
                credentials: .standard(environment: environment), environment: environment, transport: site.transport)
            return AzureBlobCache(
                AzureBlobOptions(accountURL: url, accountName: server.account, container: "cache", names: [name]),
                export: export,
                scratch: site.scratch, client: client)
        }
    }
}

// MARK: GitHub

extension Role {
    private func githubService() throws -> Service {
        let server = try GitHubCacheServer(uploadsPerMinute: .max)
        let token = server.token()
        return Service(
            respond: { try await server.respond(to: $0) }, secrets: [token.exposed, server.restToken.exposed]
        ) { name, site in
            let url = try ServiceURL("http://\(site.address)/")
            var options = GitHubActionsOptions(
                token: token, url: url, urlV2: self == .github1 ? nil : url, version: self == .github1 ? 1 : 2,
                scope: name)
            options.repository = "owner/name"
            options.ghtoken = server.restToken
            var client = GitHubActionsClient(api: url, environment: .empty, transport: site.transport)
            client.clock = site.clock
            client.grace = .seconds(1)
            return GitHubActionsCache(options, export: export, scratch: site.scratch, client: client)
        }
    }
}
