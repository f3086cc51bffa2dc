import CCrypto

/// HMAC-SHA256, computed by OpenSSL: what requests to S3 and Azure are signed with.
///
/// - Source: RFC 2104.
package enum HMAC {
    /// The 32 bytes that prove that whoever made them knows `key` and `message`.
    package static func sha256(key: some Sequence<UInt8>, _ message: some Sequence<UInt8>) -> [UInt8] {
        let key = Array(key)
        let message = Array(message)
        var code = [UInt8](repeating: 0, count: 32)
        var length: UInt32 = 32
        let made = key.withUnsafeBytes { key in
            // An empty key has no address, which OpenSSL takes for "the key of the call before".
            withUnsafeBytes(of: UInt8(0)) { none in
                CCrypto.HMAC(
                    EVP_sha256(), key.baseAddress ?? none.baseAddress, Int32(clamping: key.count), message,
                    message.count, &code, &length)
            }
        }
        // Fails only when memory runs out or OpenSSL was built without SHA-256, as for `SHA256`.
        precondition(made != nil && length == 32, "OpenSSL offers no HMAC-SHA256")
        return code
    }
}
