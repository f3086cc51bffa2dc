public import BuildCacheCore

/// A signer with a private key in this process: ECDSA on P-256 or Ed25519.
///
/// cosign verifies the signatures of P-256 keys; for its own Ed25519 keys it expects another scheme.
public struct KeySigner: DocumentSigner {
    private let key: PrivateKey
    /// The public key as a verifier.
    public let verifier: any SignatureVerifier

    /// Reads a private key.
    ///
    /// - Parameters:
    ///   - pem: PKCS#8, encrypted or not, or SEC1.
    ///   - passphrase: The passphrase of an encrypted key.
    /// - Throws: `CacheError` `.invalidSpec` for anything else or a wrong passphrase, `.unsupported` for another algorithm.
    public init(pem: Secret<String>, passphrase: Secret<String>? = nil) throws(CacheError) {
        key = try PrivateKey(pem: pem, passphrase: passphrase)
        verifier = KeyVerifier([key.publicKey])
    }

    /// The hint of the key in bundles: the base64 of the SHA-256 of its public key in DER.
    public var hint: String { key.publicKey.hint }

    /// Signs the statement; see ``DocumentSigner/sign(_:)``.
    public func sign(_ statement: SignedStatement) async throws -> [SignatureBundle] {
        [SignatureBundle(statement, signature: try key.sign(statement.encoded), hint: hint)]
    }
}

/// A signer whose private key is elsewhere, such as in a key management service.
public struct ClosureSigner: DocumentSigner {
    private let key: PublicKey
    private let makeSignature: @Sendable ([UInt8]) async throws -> [UInt8]
    /// The public key as a verifier.
    public let verifier: any SignatureVerifier

    /// Creates a signer.
    ///
    /// - Parameters:
    ///   - publicKeyPEM: The public half of the key.
    ///   - sign: Returns the raw signature over the bytes it is given: DER of ECDSA with SHA-256, or 64 bytes of Ed25519.
    /// - Throws: `CacheError` `.invalidSpec` for anything but one key, `.unsupported` for another algorithm.
    public init(
        publicKeyPEM: String, _ sign: @escaping @Sendable ([UInt8]) async throws -> [UInt8]
    ) throws(CacheError) {
        let keys = try PublicKey.read(pem: publicKeyPEM)
        guard let key = keys.first, keys.count == 1 else {
            throw CacheError(.invalidSpec, "\(keys.count) public keys were given: expected the one of the signer")
        }
        self.key = key
        makeSignature = sign
        verifier = KeyVerifier([key])
    }

    /// Has the statement signed; see ``DocumentSigner/sign(_:)``.
    public func sign(_ statement: SignedStatement) async throws -> [SignatureBundle] {
        [SignatureBundle(statement, signature: try await makeSignature(statement.encoded), hint: key.hint)]
    }
}

extension KeySigner {
    /// The raw signature over bytes, as a key management service would return it.
    package func rawSignature(over message: [UInt8]) throws(CacheError) -> [UInt8] { try key.sign(message) }
}
