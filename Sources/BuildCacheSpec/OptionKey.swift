import BuildCacheCore

/// One attribute: where it has an effect, and how much of its value may be shown.
///
/// This table is what "unknown key" and "without effect" mean, and the order in which a spec is rendered.
struct OptionKey: Sendable {
    /// Whether a value may be shown.
    enum Privacy { case open, secret, url }

    let name: String
    var directions: [CacheSpec.Direction] = CacheSpec.Direction.allCases
    var privacy = Privacy.open

    static func both(_ name: String) -> OptionKey { OptionKey(name: name) }
    static func export(_ name: String) -> OptionKey { OptionKey(name: name, directions: [.export]) }
    static func `import`(_ name: String) -> OptionKey { OptionKey(name: name, directions: [.import]) }
    static func url(_ name: String) -> OptionKey { OptionKey(name: name, privacy: .url) }
    static func secret(_ name: String, _ directions: [CacheSpec.Direction] = CacheSpec.Direction.allCases) -> OptionKey
    {
        OptionKey(name: name, directions: directions, privacy: .secret)
    }

    /// What a secret prints as, here as in `Secret`.
    static let redacted = "<redacted>"

    private static let selection: [OptionKey] = [.export("mode"), .export("ignore-error")]
    private static let compression: [OptionKey] =
        [.export("compression"), .export("compression-level"), .export("force-compression")]
    private static let layout: [OptionKey] = [.export("oci-mediatypes"), .export("image-manifest")]

    /// The attributes of a backend, `type` aside.
    ///
    /// - Source: `Documentation/Spec/spec-syntax.md` §3 and §4. BuildKit ignores compression outside of `registry` and `local`; we do not.
    static func all(of type: CacheSpec.BackendType) -> [OptionKey] {
        switch type {
        case .inline: compression
        case .registry: [.both("ref"), .both("registry.insecure")] + selection + compression + layout
        case .local:
            [.export("dest"), .import("src"), .both("tag"), .import("digest"), .export("reset")] + selection
                + compression + layout
        case .gha:
            [
                .both("scope"), .url("url"), .url("url_v2"), .secret("token"), .both("version"), .both("timeout"),
                .export("repository"), .secret("ghtoken", [.export]),
            ] + selection + compression
        case .s3:
            [
                .both("region"), .both("bucket"), .both("prefix"), .both("manifests_prefix"), .both("blobs_prefix"),
                .both("name"),
                .export("touch_refresh"), .url("endpoint_url"), .both("use_path_style"), .both("access_key_id"),
                .secret("secret_access_key"), .secret("session_token"), .export("upload_parallelism"),
                .both("disable_accept_encoding"), .both("retry_mode"), .both("retry_max_attempts"),
            ] + selection + compression
        case .azblob:
            [
                .url("account_url"), .both("account_name"), .both("container"), .both("prefix"),
                .both("manifests_prefix"),
                .both("blobs_prefix"), .both("name"), .secret("secret_access_key"),
            ] + selection + compression
        }
    }

    /// What may be shown of `value`, wherever it was found: open values of known keys, and of all others nothing.
    ///
    /// Used where the type is missing or the key misspelt, so that `secret_acces_key` does not leak either.
    static func shown(_ value: String, of key: String) -> String {
        switch privacies[key] {
        case .secret, nil: redacted
        case .url: (try? ServiceURL(value))?.description ?? redacted
        case .open: Reference.hidingUserInfo(value)
        }
    }

    private static let privacies = Dictionary(
        (CacheSpec.BackendType.allCases.flatMap(all(of:)) + [.both("type")]).map { ($0.name, $0.privacy) }
    ) { first, other in first == .open ? other : first }

    /// What may be shown of a word that is not the one expected: nothing after an `=`.
    ///
    /// Who separates attributes by `;` hides `secret_access_key=…` in the value of the one before.
    static func clipped(_ value: String) -> String {
        let word = value.unicodeScalars.prefix { $0 != "=" }
        return (word.endIndex < value.unicodeScalars.endIndex ? String(word) + "=…" : value).quoted
    }
}
