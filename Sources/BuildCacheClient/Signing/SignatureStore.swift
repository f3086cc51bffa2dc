public import BuildCacheCore
public import BuildCacheOCI
public import BuildCacheSigning

/// A store that keeps signatures beside its documents, found by the digest of what they sign.
///
/// ``StoredCache`` signs before a name is published, and verifies before a document is parsed. A store whose ``CacheStore/publish(_:as:)`` is
/// its own calls ``CacheDraft/sign(_:over:)`` just before it moves the name; ``SwappingStore`` does that itself.
///
/// - Source: `Documentation/Spec/signing.md` §4.
public protocol SignatureStore: CacheStore {
    /// The place of a name, as signatures state it: `s3:ci/main`.
    ///
    /// - Parameter name: One of ``CacheStore/cacheNames``.
    func signaturePlace(of name: String) -> String

    /// The signatures of a document; empty without a file of them.
    ///
    /// Bounded by ``SignatureFile/maximumLines`` and `SignatureBundle.maximumBytes`: a file past them is one malformed line.
    func signatures(of document: Descriptor) async throws -> SignatureFile

    /// Adds signatures to those of a document, and keeps what other writers add at the same time.
    ///
    /// Signatures that are there already count as added.
    func addSignatures(_ bundles: [SignatureBundle], to document: RawDocument) async throws
}

/// A signature file as a store keeps it.
public struct StoredSignatureFile: Hashable, Sendable {
    /// The bytes.
    public var bytes: [UInt8]
    /// The version that a replacement is tied to, such as an ETag.
    public var version: String

    /// Creates a file.
    public init(bytes: [UInt8], version: String) {
        self.bytes = bytes
        self.version = version
    }

    /// A file past the limit, of which nothing is kept: readers refuse it.
    package static let tooLarge = StoredSignatureFile(
        bytes: [UInt8](repeating: UInt8(ascii: " "), count: SignatureBundle.maximumBytes + 1), version: "")
}

/// A store that keeps one signature file per document and replaces it by compare-and-swap.
public protocol SignatureFileStore: SignatureStore {
    /// The signature file of a document, `nil` if there is none.
    ///
    /// A file of more than `SignatureBundle.maximumBytes` is returned cut, one byte longer than that at least.
    func signatureFile(of document: Digest) async throws -> StoredSignatureFile?

    /// Replaces the signature file of a document if it still is the one that was read.
    ///
    /// - Returns: `false` if another writer was faster.
    func replaceSignatureFile(
        _ current: StoredSignatureFile?, of document: Digest, with bytes: [UInt8]
    ) async throws -> Bool
}

extension SignatureFileStore {
    /// Reads the signature file.
    public func signatures(of document: Descriptor) async throws -> SignatureFile {
        try await signatureFile(of: document.digest).map { SignatureFile(decoding: $0.bytes) } ?? SignatureFile()
    }

    /// Appends by compare-and-swap, as often as another writer was faster.
    public func addSignatures(_ bundles: [SignatureBundle], to document: RawDocument) async throws {
        try await SwapLoop().run(document.digest.description) {
            // Written for the first time, as most are: the read is saved.
            if try await replaceSignatureFile(nil, of: document.digest, with: SignatureFile(bundles).bytes) {
                return ()
            }
            let current = try await signatureFile(of: document.digest)
            let known = current.map { SignatureFile(decoding: $0.bytes) } ?? SignatureFile()
            guard let merged = known.adding(bundles) else { return () }
            return try await replaceSignatureFile(current, of: document.digest, with: merged.bytes) ? () : nil
        }
    }
}
