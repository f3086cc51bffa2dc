import BuildCacheCore
import BuildCacheHTTP

/// The credentials of one region, renewed in time.
typealias CredentialCache = RenewedValue<AWSCredentials>

extension CredentialCache {
    convenience init(_ source: AWSCredentialSource, region: String, now: @escaping @Sendable () -> Timestamp) {
        self.init(expiry: \.expiresAt, now: now) {
            guard let found = try await source.credentials(region: region) else {
                throw CacheError(
                    .denied,
                    "no credentials were found: set access_key_id and secret_access_key, AWS_ACCESS_KEY_ID and "
                        + "AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws, or run where a role is attached")
            }
            return found
        }
    }
}
