public import BuildCacheCore

/// The claims of a signature: the name a document was signed for, the time and the position in that name's history.
///
/// - Source: `Documentation/Spec/signing.md` §3.
public struct SignatureClaims: Hashable, Sendable {
    /// The kind of document.
    ///
    /// Keeps a signed document of one kind from being served as another.
    public struct Kind: Hashable, Sendable, CustomStringConvertible {
        /// The text in the claim.
        public let description: String

        /// Creates a kind of this text.
        public init(_ text: String) { description = text }

        /// A build cache, which has no claim of its own.
        public static let cache = Kind("cache")
        /// A cache mount.
        public static let mount = Kind("mount")
        /// A catalogue of caches.
        public static let catalogue = Kind("catalogue")
    }

    /// The place of the document, as in `s3:ci/main` or `registry:ghcr.io/acme/cache:main`.
    public var name: String
    /// The kind of document.
    public var kind: Kind
    /// The time of the signature by the signer's clock, in whole seconds of UTC.
    public var signedAt: Timestamp
    /// The position in the history of the name, from 1: one more than that of the document it replaced.
    public var sequence: Int64
    /// The document that was replaced.
    public var previous: Digest?
    /// The document that was verified at the source of a copy.
    public var copiedFrom: Digest?
    /// The signer of ``copiedFrom``: the hint of its key or the name in its certificate.
    public var copiedSigner: String?

    /// Creates claims.
    public init(
        name: String, kind: Kind = .cache, signedAt: Timestamp, sequence: Int64, previous: Digest? = nil,
        copiedFrom: Digest? = nil, copiedSigner: String? = nil
    ) {
        self.name = name
        self.kind = kind
        self.signedAt = Timestamp(seconds: signedAt.seconds) ?? .zero
        self.sequence = sequence
        self.previous = previous
        self.copiedFrom = copiedFrom
        self.copiedSigner = copiedSigner
    }

    /// The annotations of the statement's subject.
    package var annotations: [String: String] {
        var annotations = [
            Key.name: name, Key.signedAt: "\(signedAt)", Key.sequence: "\(sequence)",
        ]
        if kind != .cache { annotations[Key.kind] = kind.description }
        annotations[Key.previous] = previous?.description
        annotations[Key.copiedFrom] = copiedFrom?.description
        annotations[Key.copiedSigner] = copiedSigner
        return annotations
    }

    /// Reads the claims of a signature.
    ///
    /// - Returns: `nil` if no annotation is a claim of a build cache.
    /// - Throws: `CacheError` `.untrusted` if a required claim is absent or any is malformed.
    package init?(annotations: [String: String]) throws(CacheError) {
        guard annotations.keys.contains(where: { $0.hasPrefix("build-cache.") }) else { return nil }
        func required(_ key: String) throws(CacheError) -> String {
            guard let value = annotations[key], !value.isEmpty else {
                throw CacheError(.untrusted, "the signature has no claim \(key)")
            }
            return value
        }
        func digest(_ key: String) throws(CacheError) -> Digest? {
            guard let text = annotations[key] else { return nil }
            guard let digest = try? Digest(text) else {
                throw CacheError(.untrusted, "invalid claim \(key) \(text.quoted): expected a sha256 digest")
            }
            return digest
        }
        let time = try required(Key.signedAt)
        guard time.hasSuffix("Z"), let signedAt = try? Timestamp(time), signedAt.nanoseconds == 0 else {
            throw CacheError(
                .untrusted, "invalid claim \(Key.signedAt) \(time.quoted): expected a time like 2026-01-02T03:04:05Z")
        }
        let number = try required(Key.sequence)
        // Only the form that the writer uses: a second spelling of one number would be a second signature of it.
        guard let sequence = Int64(decimal: number, in: 1...Int64.max), "\(sequence)" == number else {
            throw CacheError(.untrusted, "invalid claim \(Key.sequence) \(number.quoted): expected a number from 1")
        }
        self.init(
            name: try required(Key.name), kind: annotations[Key.kind].map { Kind($0) } ?? .cache, signedAt: signedAt,
            sequence: sequence, previous: try digest(Key.previous), copiedFrom: try digest(Key.copiedFrom),
            copiedSigner: annotations[Key.copiedSigner])
    }

    private enum Key {
        static let name = "build-cache.name"
        static let kind = "build-cache.kind"
        static let signedAt = "build-cache.signed-at"
        static let sequence = "build-cache.sequence"
        static let previous = "build-cache.previous"
        static let copiedFrom = "build-cache.copied-from"
        static let copiedSigner = "build-cache.copied-signer"
    }
}
