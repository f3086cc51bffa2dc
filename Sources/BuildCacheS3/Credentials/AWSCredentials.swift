public import BuildCacheCore

/// The keys that sign requests to Amazon's services and to those with the same protocol.
public struct AWSCredentials: Hashable, Sendable {
    /// The identifier of the key, which is not secret.
    public var accessKeyID: String
    /// The key.
    public var secretAccessKey: Secret<String>
    /// The token of a temporary key.
    public var sessionToken: Secret<String>?
    /// The end of their validity; `nil` for none.
    public var expiresAt: Timestamp?

    /// Creates credentials.
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

extension AWSCredentials {
    /// Reads the response of a service or a program: `AccessKeyId`, `SecretAccessKey`, `Token` or `SessionToken`, `Expiration`.
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
                throw CacheError(.corrupted, "\(source) returned an Expiration that is not a valid time")
            }
            expiresAt = time
        }
        self.init(
            accessKeyID: id, secretAccessKey: Secret(secret), sessionToken: token.map { Secret($0) },
            expiresAt: expiresAt)
    }
}
