package import BuildCacheCore
import BuildCacheHTTP
package import BuildCacheSpec
import NIOHTTP1

/// The ways in which a request proves to the storage service that it is allowed.
package enum AzureAuthorization: Sendable {
    /// The account's key signs each request.
    case sharedKey(SharedKey)
    /// The URL carries a signature.
    case signedURL
    /// A token of Entra ID, which is good for all accounts of an identity: sent to the places that it may be sent to.
    case token(AzureTokens, CredentialOrigin)

    /// Adds the proof to `request`.
    ///
    /// - Throws: `CacheError` `.denied` for a URL that a token is not sent to; what getting a token throws.
    func authorize(_ request: inout OutgoingRequest, now: Timestamp) async throws {
        switch self {
        case .signedURL: return
        case .sharedKey(let key):
            request.headers.replaceOrAdd(name: "x-ms-date", value: now.httpDate)
            let value = key.authorization(request.method, request.url, request.headers, length: request.bodyLength)
            try request.credentials.set("Authorization", value)
        case .token(let tokens, let origin):
            // Stricter than for other credentials: not even a host that the program allows gets it in the clear.
            guard request.url.scheme == "https" || request.url.isLoopback else {
                throw CacheError(
                    .denied,
                    "\(origin.credential) is not sent to \(request.url.origin) without encryption: use https://")
            }
            try origin.check(request.url, isAmbient: true)
            request.headers.replaceOrAdd(name: "x-ms-date", value: now.httpDate)
            try request.credentials.set("Authorization", Secret("Bearer \(try await tokens.current().exposed)"))
        }
    }

    /// Why a request may have been refused, as the end of a message.
    func advice(_ status: Int, _ code: String, _ url: ServiceURL, now: Timestamp) -> String {
        guard status == 401 || status == 403 else { return "" }
        switch self {
        case .signedURL:
            if let end = url.signatureEnd, end <= now {
                return "; the shared access signature ended at \(end), get a new one"
            }
            return "; the shared access signature does not allow this, or was made with another key"
        case .sharedKey where code == "AuthenticationFailed":
            return "; the account key is another account's or an old one, or the clock of this machine is off"
        case .sharedKey: return ""
        case .token where code.hasPrefix("Authorization"):
            return "; the identity needs the role Storage Blob Data Contributor, or Reader to import"
        case .token: return "; the storage account does not take this identity's token"
        }
    }
}

extension ServiceURL {
    /// Whether a shared access signature is part of the URL.
    package var isSigned: Bool { queryParameters.contains { $0.name == "sig" } }

    /// When the URL's signature ends, `nil` if it does not say.
    package var signatureEnd: Timestamp? {
        guard let text = queryParameters.first(where: { $0.name == "se" })?.value else { return nil }
        // A date alone is midnight.
        return try? Timestamp(text.contains("T") ? text : text + "T00:00:00Z")
    }
}
