public import BuildCacheCore

/// What requests to Amazon's services, and to those that speak like them, are signed with.
public struct AWSCredentials: Hashable, Sendable {
    /// Which key it is; no secret.
    public var accessKeyID: String
    /// The key.
    public var secretAccessKey: Secret<String>
    /// What goes along with a key that is lent for a while.
    public var sessionToken: Secret<String>?
    /// When they end, `nil` for never.
    public var expiresAt: Timestamp?

    /// Makes credentials.
    public init(
        accessKeyID: String, secretAccessKey: Secret<String>, sessionToken: Secret<String>? = nil,
        expiresAt: Timestamp? = nil
    ) {
        self.accessKeyID = accessKeyID
        self.secretAccessKey = secretAccessKey
        self.sessionToken = sessionToken
        self.expiresAt = expiresAt
    }
}

/// Somebody who may have credentials.
///
/// Asked before the first request, shortly before what it gave expires, and when a service says that it has expired.
public protocol AWSCredentialProvider: Sendable {
    /// The credentials, or `nil` if none are set up here: then the next provider is asked.
    ///
    /// - Parameter region: The region of the bucket, for who has to ask a service of that region.
    /// - Throws: `CacheError` if some are set up and cannot be had; then nobody else is asked.
    func credentials(region: String) async throws -> AWSCredentials?
}

/// Credentials that are known.
public struct StaticCredentials: AWSCredentialProvider {
    private let known: AWSCredentials

    /// Gives these.
    public init(_ credentials: AWSCredentials) { known = credentials }

    /// The credentials it was made with.
    public func credentials(region: String) async throws -> AWSCredentials? { known }
}

/// Several providers, asked in their order until one has credentials.
public struct CredentialChain: AWSCredentialProvider {
    /// Who is asked.
    public var providers: [any AWSCredentialProvider]

    /// Asks these.
    public init(_ providers: [any AWSCredentialProvider]) { self.providers = providers }

    /// The first credentials that somebody has.
    public func credentials(region: String) async throws -> AWSCredentials? {
        for provider in providers {
            if let found = try await provider.credentials(region: region) { return found }
        }
        return nil
    }
}

extension AWSCredentials {
    /// What services and programs answer with: `AccessKeyId`, `SecretAccessKey`, `Token` or `SessionToken`, `Expiration`.
    ///
    /// - Parameter value: The text under a name, `nil` for none.
    /// - Throws: `CacheError` `.corrupted`, which names `source` and none of the values.
    init(from source: String, _ value: (String) -> String?) throws(CacheError) {
        guard let id = value("AccessKeyId"), let secret = value("SecretAccessKey"), !id.isEmpty, !secret.isEmpty else {
            throw CacheError(.corrupted, "\(source) answers without AccessKeyId and SecretAccessKey")
        }
        let token = (value("Token") ?? value("SessionToken")).flatMap { $0.isEmpty ? nil : $0 }
        var expiresAt: Timestamp?
        if let text = value("Expiration") {
            guard let time = try? Timestamp(text) else {
                throw CacheError(.corrupted, "\(source) answers with an Expiration that is no time")
            }
            expiresAt = time
        }
        self.init(
            accessKeyID: id, secretAccessKey: Secret(secret), sessionToken: token.map { Secret($0) },
            expiresAt: expiresAt)
    }
}
