import BuildCacheCore
import BuildCacheHTTP
import CCrypto
import NIOHTTP1

/// The identity of an application in a cluster of Service Fabric.
///
/// The service has a certificate that no authority signed, and whose thumbprint the cluster tells.
///
/// - Source: Azure Service Fabric, "How to leverage a Service Fabric application's managed identity".
struct ServiceFabricIdentity: Sendable {
    /// The URL of the service.
    let service: ServiceURL
    /// The SHA-1 of its certificate, in hexadecimal.
    let thumbprint: String
    /// The secret that proves the application.
    let secret: Secret<String>
    let transport: HTTPTransport

    /// The answer of the service to a request for a token.
    ///
    /// - Throws: `CacheError` `.invalidSpec` for a URL without TLS or a text that is not a thumbprint, `.denied` for another certificate,
    ///   `.unavailable`.
    func response() async throws -> IncomingResponse {
        guard service.scheme == "https" else {
            throw CacheError(.invalidSpec, "invalid IDENTITY_ENDPOINT \(service.base.quoted): expected an https:// URL")
        }
        let expected = thumbprint.lowercased()
        guard expected.utf8.count == 40, expected.allSatisfy({ $0.isASCII && $0.isHexDigit }) else {
            throw CacheError(
                .invalidSpec, "invalid IDENTITY_SERVER_THUMBPRINT \(thumbprint.quoted): expected 40 hexadecimal digits")
        }
        var request = OutgoingRequest(
            .GET,
            try service.adding([("api-version", "2019-07-01-preview"), ("resource", AzureCredentials.resource)]))
        // Before the secret is sent.
        request.tls = try await TLSOptions.configuration(pinning: service) { Self.thumbprint(of: $0) == expected }
        try request.credentials.set("Secret", secret)
        return try await transport.send(request)
    }

    /// The SHA-1 of a certificate in DER: a name that the platform gives it, of which no second certificate can be made.
    private static func thumbprint(of certificate: [UInt8]) -> String {
        var bytes = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
        var count: UInt32 = 0
        guard EVP_Digest(certificate, certificate.count, &bytes, &count, EVP_sha1(), nil) == 1 else { return "" }
        return bytes.prefix(Int(count)).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}
