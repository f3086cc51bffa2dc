import BuildCacheCore
import BuildCacheHTTP
import NIOHTTP1

/// The ways in which a request proves to the storage service that it is allowed.
package enum AzureAuthorization: BlobAuthorization {
    /// The account's key signs each request.
    case sharedKey(SharedKey)
    /// A token of Entra ID, which is good for all accounts of an identity: sent to the places that it may be sent to.
    case token(AzureTokens, CredentialOrigin)

    package var signsTime: Bool { if case .sharedKey = self { true } else { false } }

    package func forgetToken() -> Bool {
        guard case .token(let tokens, _) = self else { return false }
        tokens.forget()
        return true
    }

    /// Adds the proof to `request`.
    ///
    /// - Throws: `CacheError` `.denied` for a URL that a token is not sent to; what getting a token throws.
    package func authorize(_ request: inout OutgoingRequest, now: Timestamp) async throws {
        switch self {
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
            try request.credentials.set("Authorization", Secret("Bearer \(try await tokens.current().text.exposed)"))
        }
    }

    /// Why a request may have been refused, as the end of a message.
    package func advice(_ status: Int, _ code: String, _ url: ServiceURL, now: Timestamp) -> String {
        guard status == 401 || status == 403 else { return "" }
        switch self {
        case .sharedKey where code == "AuthenticationFailed":
            return "; the account key is another account's or an old one, or the clock of this machine is off"
        case .sharedKey: return ""
        case .token where code.hasPrefix("Authorization"):
            return "; the identity needs the role Storage Blob Data Contributor, or Reader to import"
        case .token: return "; the storage account does not take this identity's token"
        }
    }
}
