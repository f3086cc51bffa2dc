public import BuildCacheCore

/// The rules by which the signatures of a source are accepted.
///
/// - Source: `Documentation/Spec/signing.md` §7.
public struct VerificationPolicy: Sendable {
    /// Whether documents need signatures.
    @nonexhaustive
    public enum Mode: Hashable, Sendable {
        /// Signatures are not read.
        case off
        /// A document without signatures is accepted, one with signatures only if they verify.
        ///
        /// For a migration only: an attacker who can write documents can remove signatures.
        case ifPresent
        /// A document needs signatures.
        case required
    }

    /// The consequence of a refusal.
    @nonexhaustive
    public enum Refusal: Hashable, Sendable {
        /// The cache counts as one without hits, with a problem.
        case miss
        /// Reading the cache fails with `CacheError` `.untrusted`.
        case error
    }

    /// Whether documents need signatures; default `off`.
    public var mode: Mode
    /// The verifiers, each of signers that are trusted.
    public var verifiers: [any SignatureVerifier]
    /// The number of different signers that must have signed; default 1.
    public var threshold: Int
    /// Whether a signature without claims counts for nothing; default `true`.
    ///
    /// Without claims a signature is good for any name, for ever, so a document of another name or time can be put in its place.
    public var requiresClaims: Bool
    /// The names that a signature may be for; `nil`, the default, means the place that is read.
    ///
    /// Set it to read a mirror or a copy by the signatures of its source.
    public var names: [String]?
    /// The greatest age of a signature; default 30 days, `nil` means no limit.
    public var maximumAge: Duration?
    /// The consequence of a refusal; default ``Refusal/miss``.
    public var refusal: Refusal
    /// Whether BuildKit's form is read at gha: the index `…-sig` and its one bundle; default `false`.
    public var usesBuildKitForm = false
    /// The memory of accepted signatures, by which an older document is refused; default none.
    public var memory: SignatureMemory?
    /// The current time.
    package var now: @Sendable () -> Timestamp = { .now() }

    /// Creates rules.
    public init(
        _ mode: Mode, verifiers: [any SignatureVerifier] = [], threshold: Int = 1, requiresClaims: Bool = true,
        names: [String]? = nil, maximumAge: Duration? = .seconds(30 * 86_400), refusal: Refusal = .miss,
        memory: SignatureMemory? = nil
    ) {
        self.mode = mode
        self.verifiers = verifiers
        self.threshold = threshold
        self.requiresClaims = requiresClaims
        self.names = names
        self.maximumAge = maximumAge
        self.refusal = refusal
        self.memory = memory
    }

    /// Signatures are not read.
    public static let off = VerificationPolicy(.off)

    /// Signatures by one of these keys are required.
    ///
    /// - Parameter keys: Public keys in PEM.
    /// - Throws: `CacheError` as ``KeyVerifier/init(pem:)``.
    public static func requiring(keys: [String]) throws(CacheError) -> VerificationPolicy {
        VerificationPolicy(.required, verifiers: [try KeyVerifier(pem: keys)])
    }

    /// Checks that the rules can be met.
    package func validate() throws(CacheError) {
        guard mode != .off else { return }
        guard !verifiers.isEmpty else {
            throw CacheError(.invalidSpec, "the verification policy has no verifier; add a public key or set mode off")
        }
        guard threshold >= 1 else {
            throw CacheError(.invalidSpec, "invalid threshold \(threshold): expected the number of signers, 1 or more")
        }
        guard maximumAge ?? .zero >= .zero else {
            throw CacheError(.invalidSpec, "the maximum age of a signature is negative")
        }
    }
}

/// The rules by which an export is signed.
public struct SigningPolicy: Sendable {
    /// The signers, all of which sign.
    public var signers: [any DocumentSigner]
    /// Whether gha gets BuildKit's form: an index of its own name, `…-sig`, and one bundle per index; default `false`.
    ///
    /// BuildKit accepts only bundles of Sigstore's public instance over the document itself, as a `ProgramSigner` with cosign makes them.
    public var usesBuildKitForm: Bool
    /// The current time.
    package var now: @Sendable () -> Timestamp = { .now() }

    /// Creates rules.
    public init(signers: [any DocumentSigner], usesBuildKitForm: Bool = false) {
        self.signers = signers
        self.usesBuildKitForm = usesBuildKitForm
    }
}
