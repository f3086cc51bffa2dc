import BuildCacheCore
import BuildCacheHTTP
import NIOHTTP1

/// Entra ID, which gives tokens to programs that prove who they are.
///
/// - Source: Microsoft identity platform, "OAuth 2.0 client credentials flow".
struct TokenEndpoint: Sendable {
    private let authority: String
    private let transport: HTTPTransport

    private static let answerLimit = 1 << 20

    init(_ environment: Environment, _ transport: HTTPTransport) {
        let named = environment["AZURE_AUTHORITY_HOST"] ?? ""
        authority = named.isEmpty ? "https://login.microsoftonline.com" : named
        self.transport = transport
    }

    /// Where tokens of a tenant are given.
    func url(tenant: String) throws(CacheError) -> ServiceURL {
        // It becomes part of a path, and must not lead elsewhere.
        guard tenant.allSatisfy({ $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-" || $0 == ".") }) else {
            throw CacheError(.invalidSpec, "invalid AZURE_TENANT_ID: expected letters, digits, '.' and '-'")
        }
        let url: ServiceURL
        do { url = try ServiceURL(authority).appending("/\(tenant)/oauth2/v2.0/token") } catch {
            throw CacheError(.invalidSpec, "invalid AZURE_AUTHORITY_HOST: \(error.message)")
        }
        guard url.scheme == "https" || url.isLoopback else {
            throw CacheError(.invalidSpec, "invalid AZURE_AUTHORITY_HOST \(authority.quoted): expected an https:// URL")
        }
        return url
    }

    func token(tenant: String, client: String, assertion: Secret<String>) async throws -> AzureToken {
        try await token(
            tenant: tenant, client: client,
            [
                ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
            ],
            secret: ("client_assertion", assertion))
    }

    /// Shows who asks by a field that is a credential, and others that say what it is.
    func token(
        tenant: String, client: String, _ proof: [(name: String, value: String)] = [],
        secret: (name: String, value: Secret<String>)
    ) async throws -> AzureToken {
        let form = CredentialForm(
            [
                ("grant_type", "client_credentials"), ("client_id", client),
                ("scope", AzureCredentials.resource + "/.default"),
            ] + proof, secrets: [secret])
        let response = try await transport.send(OutgoingRequest(posting: form, to: try url(tenant: tenant)))
        guard response.status == .ok else {
            var error = await response.failure().error
            error.code = .denied
            error.message = "Entra ID gives no token to the client \(client): " + error.message
            throw error
        }
        return try AzureToken(answer: try await response.collect(upTo: TokenEndpoint.answerLimit), now: .now())
    }
}

extension AzureToken {
    /// Seconds that a token may last: more than a hundred years are a mistake.
    private static let lifetimes: ClosedRange<Int64> = 0...1 << 32
    /// Seconds after which a token without a valid end is asked for again.
    private static let defaultLifetime: Int64 = 600

    /// Reads the response of a token server.
    ///
    /// Numbers come as numbers from some servers and as text from others; one that is out of bounds counts as missing.
    ///
    /// - Throws: `CacheError` `.corrupted`, without the answer's words: they may be the token.
    init(answer: [UInt8], now: Timestamp) throws(CacheError) {
        var text: String?
        var seconds: Int64?
        var end: Int64?
        do {
            try JSONReader.read(answer, as: "token") { reader throws(CacheError) in
                guard try reader.beginObject() else { return }
                while let key = try reader.nextKey() {
                    switch key {
                    // Token servers, az, azd.
                    case "access_token", "accessToken", "token": text = try reader.string()
                    case "expires_in": seconds = try reader.number(in: AzureToken.lifetimes)
                    // Seconds since 1970, up to the year 9999.
                    case "expires_on": end = try reader.number(in: 1...253_402_300_799)
                    // azd gives nothing else; the time of az is the local one, which is not a valid timestamp.
                    case "expiresOn" where end == nil: end = try reader.string().flatMap { try? Timestamp($0) }?.seconds
                    default: try reader.skipValue()
                    }
                }
            }
        } catch {
            throw CacheError(.corrupted, "the token server answers with something else than JSON")
        }
        guard let text, !text.isEmpty else { throw CacheError(.corrupted, "the token server answers without a token") }
        let expires = end ?? now.seconds.addingClamped(seconds ?? AzureToken.defaultLifetime)
        self.init(Secret(text), expires: Timestamp(seconds: expires) ?? now)
    }
}

extension JSONReader {
    /// An integer, perhaps in quotes; `nil` for any other value, and out of `range`.
    fileprivate mutating func number(in range: ClosedRange<Int64>) throws(CacheError) -> Int64? {
        let text =
            peek() == UInt8(ascii: "\"") ? try string() ?? "" : String(decoding: try skipValue(), as: UTF8.self)
        return Int64(decimal: text, in: range)
    }
}
