import BuildCacheBytes
import BuildCacheCore
import CCrypto

/// A certificate and its private key, with which a program proves who it is to Entra ID.
///
/// - Source: Microsoft identity platform, "Certificate credentials"; RFC 7523.
struct ClientCertificate: ~Copyable {
    private let certificate: OpaquePointer
    private let key: OpaquePointer

    /// Reads a file in PEM with both in it, or in PKCS#12.
    ///
    /// - Throws: `CacheError` `.invalidSpec` if it cannot be read.
    init(_ bytes: [UInt8], path: String, password: Secret<String>) throws(CacheError) {
        let isPEM = String(decoding: bytes, as: UTF8.self).contains("-----BEGIN ")
        let parts = isPEM ? Self.readPEM(bytes, password) : Self.readPKCS12(bytes, password)
        guard let certificate = parts.certificate, let key = parts.key else {
            X509_free(parts.certificate)
            EVP_PKEY_free(parts.key)
            throw CacheError(
                .invalidSpec,
                "\(path) has no certificate with its private key, in PEM or PKCS#12, that the password opens")
        }
        self.certificate = certificate
        self.key = key
    }

    deinit {
        X509_free(certificate)
        EVP_PKEY_free(key)
    }

    private typealias Parts = (certificate: OpaquePointer?, key: OpaquePointer?)

    private static func readPEM(_ bytes: [UInt8], _ password: Secret<String>) -> Parts {
        let keys = BIO_new_mem_buf(bytes, Int32(clamping: bytes.count))
        let certificates = BIO_new_mem_buf(bytes, Int32(clamping: bytes.count))
        defer {
            BIO_free(keys)
            BIO_free(certificates)
        }
        // Without a password OpenSSL would ask for one at the terminal.
        var text = Array(password.exposed.utf8CString)
        return (PEM_read_bio_X509(certificates, nil, nil, nil), PEM_read_bio_PrivateKey(keys, nil, nil, &text))
    }

    private static func readPKCS12(_ bytes: [UInt8], _ password: Secret<String>) -> Parts {
        let input = BIO_new_mem_buf(bytes, Int32(clamping: bytes.count))
        let store = d2i_PKCS12_bio(input, nil)
        defer {
            PKCS12_free(store)
            BIO_free(input)
        }
        var parts: Parts = (nil, nil)
        guard store != nil, PKCS12_parse(store, password.exposed, &parts.key, &parts.certificate, nil) == 1 else {
            return (nil, nil)
        }
        return parts
    }

    // MARK: Proving

    /// A token of ten minutes that says that we are `client`, signed with the key.
    ///
    /// - Throws: `CacheError` `.invalidSpec` if the key is no RSA key.
    func assertion(audience: String, client: String, now: Timestamp) throws(CacheError) -> Secret<String> {
        var header = JSONWriter()
        header.beginObject()
        for (name, value) in [
            ("alg", "RS256"), ("typ", "JWT"), ("x5t", thumbprint(EVP_sha1())), ("x5t#S256", thumbprint(EVP_sha256())),
        ] {
            header.key(name)
            header.string(value)
        }
        header.endObject()
        var claims = JSONWriter()
        claims.beginObject()
        let number = (0..<16).map { _ in UInt8.random(in: .min ... .max) }
        for (name, value) in [
            ("aud", audience), ("iss", client), ("sub", client), ("jti", Base64.encodeForURL(number)),
        ] {
            claims.key(name)
            claims.string(value)
        }
        claims.key("nbf")
        claims.integer(now.seconds)
        claims.key("exp")
        claims.integer(now.seconds + 600)
        claims.endObject()
        let text = Base64.encodeForURL(header.bytes) + "." + Base64.encodeForURL(claims.bytes)
        return Secret(text + "." + Base64.encodeForURL(try sign(Array(text.utf8))))
    }

    private func thumbprint(_ algorithm: OpaquePointer?) -> String {
        var bytes = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
        var count: UInt32 = 0
        X509_digest(certificate, algorithm, &bytes, &count)
        return Base64.encodeForURL(Array(bytes.prefix(Int(count))))
    }

    private func sign(_ bytes: [UInt8]) throws(CacheError) -> [UInt8] {
        let context = EVP_MD_CTX_new()
        defer { EVP_MD_CTX_free(context) }
        var signature = [UInt8](repeating: 0, count: Int(EVP_PKEY_get_size(key)))
        var count = signature.count
        guard EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA,
            EVP_DigestSignInit(context, nil, EVP_sha256(), nil, key) == 1,
            EVP_DigestSign(context, &signature, &count, bytes, bytes.count) == 1
        else { throw CacheError(.invalidSpec, "the client certificate's key is no RSA key, which Entra ID wants") }
        return Array(signature.prefix(count))
    }
}
