import BuildCacheCore

/// The key of an option: its directions, the variables that stand in for it, and how much of its value may be shown.
struct OptionKey: Sendable {
    /// The part of a value that may be shown.
    enum Privacy { case open, secret, url }

    let name: String
    var directions = CacheSpec.Direction.allCases
    /// The first of these that is set counts if the option is not given.
    var variables: [String] = []
    /// Whether ``variables`` count beside these attributes.
    var readsVariables: @Sendable (AttributeReader) -> Bool = { _ in true }
    /// Whether a spec without a value is refused.
    ///
    /// Such a value is always written.
    var isRequired = false
    var privacy = Privacy.open

    static func both(
        _ name: String, else variables: [String] = [],
        when readsVariables: @escaping @Sendable (AttributeReader) -> Bool = { _ in true }, isRequired: Bool = false
    ) -> OptionKey {
        OptionKey(name: name, variables: variables, readsVariables: readsVariables, isRequired: isRequired)
    }
    static func export(_ name: String, isRequired: Bool = false) -> OptionKey {
        OptionKey(name: name, directions: [.export], isRequired: isRequired)
    }
    static func `import`(_ name: String, isRequired: Bool = false) -> OptionKey {
        OptionKey(name: name, directions: [.import], isRequired: isRequired)
    }

    /// The keys of a backend, `type` aside, in the order in which they are written.
    static func all(of type: CacheSpec.BackendType) -> [OptionKey] { byType[type, default: []] }

    private static let byType: [CacheSpec.BackendType: [OptionKey]] = [
        .inline: ExportOptions.keys(of: .inline),
        .registry: RegistryOptions.keys + ExportOptions.keys(of: .registry),
        .local: LocalOptions.keys + ExportOptions.keys(of: .local),
        .gha: GitHubActionsOptions.keys + ExportOptions.keys(of: .gha),
        .s3: S3Options.keys + ExportOptions.keys(of: .s3),
        .azblob: AzureBlobOptions.keys + ExportOptions.keys(of: .azblob),
    ]

    // MARK: Showing values

    /// The text that a secret prints as, here as in `Secret`.
    static let redacted = "<redacted>"

    /// The part of `value` that may be shown, wherever it was found: of known keys, open values; of all others, nothing.
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
        (byType.values.joined() + [.both("type")]).map { ($0.name, $0.privacy) }
    ) { first, other in first == .open ? other : first }

    /// The text of a value of this option, without what must not be shown.
    func shown(_ text: String) -> String { privacy == .open ? text : OptionKey.shown(text, of: name) }

    /// The part of an unexpected word that may be shown: nothing after an `=`.
    ///
    /// With `;` between attributes, a `secret_access_key=…` is part of the value before it.
    static func clipped(_ value: String) -> String {
        let word = value.unicodeScalars.prefix { $0 != "=" }
        return (word.endIndex < value.unicodeScalars.endIndex ? String(word) + "=…" : value).quoted
    }
}
