import BuildCacheCore
import CCrypto

/// A private key: ECDSA on P-256 or Ed25519.
struct PrivateKey: Sendable {
    let publicKey: PublicKey
    private let der: Secret<[UInt8]>

    /// Reads PKCS#8, encrypted or not, or SEC1, in PEM.
    ///
    /// - Throws: `CacheError` `.invalidSpec` if it cannot be read, `.unsupported` for another algorithm or cosign's own encryption.
    init(pem: Secret<String>, passphrase: Secret<String>?) throws(CacheError) {
        let text = pem.exposed
        guard !["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"].contains(where: text.contains) else {
            throw CacheError(
                .unsupported,
                "the key is encrypted as cosign does, which libcrypto cannot read; use a key in PKCS#8, "
                    + "as openssl genpkey writes it")
        }
        let bytes = Array(text.utf8)
        let input = BIO_new_mem_buf(bytes, Int32(clamping: bytes.count))
        // Without a passphrase OpenSSL would ask for one at the terminal, so it always gets one.
        var password = Array((passphrase?.exposed ?? "").utf8CString)
        let key = PEM_read_bio_PrivateKey(input, nil, nil, &password)
        defer {
            BIO_free(input)
            EVP_PKEY_free(key)
            ERR_clear_error()
        }
        guard let key else {
            let isEncrypted = text.contains("ENCRYPTED")
            throw CacheError(
                .invalidSpec,
                isEncrypted
                    ? "the private key cannot be read: the passphrase is wrong or missing"
                    : "the private key cannot be read: expected PKCS#8 or SEC1 in PEM")
        }
        publicKey = try PublicKey(key)
        var buffer: UnsafeMutablePointer<UInt8>?
        let count = i2d_PrivateKey(key, &buffer)
        defer { CRYPTO_clear_free(buffer, Int(max(0, count)), #file, #line) }
        guard count > 0, let buffer else { throw CacheError(.unsupported, "the private key cannot be encoded") }
        der = Secret(Array(UnsafeBufferPointer(start: buffer, count: Int(count))))
    }

    /// The signature over a message: DER over SHA-256 for P-256, 64 bytes for Ed25519.
    func sign(_ message: [UInt8]) throws(CacheError) -> [UInt8] {
        let key: OpaquePointer? = der.exposed.withUnsafeBufferPointer { buffer in
            var next = buffer.baseAddress
            return d2i_AutoPrivateKey(nil, &next, buffer.count)
        }
        let context = EVP_MD_CTX_new()
        defer {
            EVP_MD_CTX_free(context)
            EVP_PKEY_free(key)
            ERR_clear_error()
        }
        let hash = publicKey.algorithm == .p256 ? EVP_sha256() : nil
        var signature = [UInt8](repeating: 0, count: 128)
        var count = signature.count
        guard let key, EVP_DigestSignInit(context, nil, hash, nil, key) == 1,
            EVP_DigestSign(context, &signature, &count, message, message.count) == 1
        else { throw CacheError(.unsupported, "the key could not sign the statement") }
        return Array(signature.prefix(count))
    }
}

extension PublicKey {
    /// Reads the public keys in a text in PEM.
    ///
    /// - Throws: `CacheError` `.invalidSpec` if it has none, `.unsupported` for another algorithm.
    static func read(pem: String) throws(CacheError) -> [PublicKey] {
        let bytes = Array(pem.utf8)
        let input = BIO_new_mem_buf(bytes, Int32(clamping: bytes.count))
        defer {
            BIO_free(input)
            ERR_clear_error()
        }
        var keys: [PublicKey] = []
        while let key = PEM_read_bio_PUBKEY(input, nil, nil, nil) {
            defer { EVP_PKEY_free(key) }
            keys.append(try PublicKey(key))
        }
        // A block that cannot be read ends the loop: a key must not be left out of a set in silence.
        let blocks = pem.split(separator: "-----BEGIN ", omittingEmptySubsequences: false).count - 1
        guard !keys.isEmpty, keys.count == blocks else {
            throw CacheError(
                .invalidSpec,
                pem.contains("PRIVATE KEY")
                    ? "a private key was given where a public key is expected; give the output of openssl pkey -pubout"
                    : "the public key cannot be read: expected -----BEGIN PUBLIC KEY----- in PEM")
        }
        return keys
    }
}
