import BuildCacheCore
import CCrypto

/// A public key: ECDSA on P-256 or Ed25519.
struct PublicKey: Hashable, Sendable {
    enum Algorithm: Hashable, Sendable { case p256, ed25519 }

    let algorithm: Algorithm
    /// The SubjectPublicKeyInfo, in DER.
    let der: [UInt8]

    /// The hint of the key in a bundle, as cosign 3 writes it: the base64 of the SHA-256 of ``der``.
    var hint: String { String(decoding: Base64.encode(Digest(of: der).bytes), as: UTF8.self) }

    /// Takes a key from its DER.
    ///
    /// - Throws: `CacheError` `.unsupported` for any other algorithm or curve.
    init(der: [UInt8]) throws(CacheError) {
        // The whole header is compared, so explicit curve parameters are refused, too.
        if PublicKey.p256Headers.contains(where: { der.starts(with: $0) }) {
            algorithm = .p256
        } else if der.starts(with: PublicKey.ed25519Header), der.count == 44 {
            algorithm = .ed25519
        } else {
            throw CacheError(.unsupported, "unsupported key algorithm: expected ECDSA on P-256 or Ed25519")
        }
        self.der = der
    }

    init(_ key: OpaquePointer) throws(CacheError) {
        var buffer: UnsafeMutablePointer<UInt8>?
        let count = i2d_PUBKEY(key, &buffer)
        defer { CRYPTO_free(buffer, #file, #line) }
        guard count > 0, let buffer else { throw CacheError(.unsupported, "the public key cannot be encoded") }
        try self.init(der: Array(UnsafeBufferPointer(start: buffer, count: Int(count))))
    }

    private static let ed25519Header: [UInt8] = [
        0x30, 0x2A, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x03, 0x21, 0x00,
    ]
    private static let p256Headers: [[UInt8]] = {
        let algorithm: [UInt8] = [
            0x30, 0x13, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D,
            0x03, 0x01, 0x07, 0x03,
        ]
        return [
            [0x30, 0x59] + algorithm + [0x42, 0x00, 0x04],
            [0x30, 0x39] + algorithm + [0x22, 0x00, 0x02], [0x30, 0x39] + algorithm + [0x22, 0x00, 0x03],
        ]
    }()

    // MARK: Verifying

    /// Whether a signature over a message verifies.
    func verifies(_ signature: [UInt8], of message: [UInt8]) -> Bool {
        withKey { key in
            let context = EVP_MD_CTX_new()
            defer { EVP_MD_CTX_free(context) }
            let hash = algorithm == .p256 ? EVP_sha256() : nil
            return EVP_DigestVerifyInit(context, nil, hash, nil, key) == 1
                && EVP_DigestVerify(context, signature, signature.count, message, message.count) == 1
        }
    }

    /// Whether a signature verifies over a message of which only the SHA-256 is known; never for Ed25519, which needs the message.
    func verifies(_ signature: [UInt8], ofDigest digest: Digest) -> Bool {
        guard algorithm == .p256 else { return false }
        let hash = Array(digest.bytes)
        return withKey { key in
            let context = EVP_PKEY_CTX_new(key, nil)
            defer { EVP_PKEY_CTX_free(context) }
            return EVP_PKEY_verify_init(context) == 1
                && EVP_PKEY_verify(context, signature, signature.count, hash, hash.count) == 1
        }
    }

    private func withKey(_ body: (OpaquePointer) -> Bool) -> Bool {
        let key: OpaquePointer? = der.withUnsafeBufferPointer { buffer in
            var next = buffer.baseAddress
            return d2i_PUBKEY(nil, &next, buffer.count)
        }
        // A failed verification leaves its reason on the thread, where the next caller of the library would find it.
        defer {
            EVP_PKEY_free(key)
            ERR_clear_error()
        }
        guard let key else { return false }
        return body(key)
    }
}

extension Digest {
    /// The 32 bytes.
    var bytes: [UInt8] {
        withUnsafeBytes(
            of: (words.0.bigEndian, words.1.bigEndian, words.2.bigEndian, words.3.bigEndian)
        ) { Array($0) }
    }
}
