import BuildCacheCore

/// The attributes of one entry, asked for by name and turned into values.
///
/// Every fault is thrown. What BuildKit lets pass goes through ``tolerate(_:)``, which throws it only when parsing is strict.
struct AttributeReader {
    let type: CacheSpec.BackendType
    let direction: CacheSpec.Direction
    let environment: Environment
    let isLenient: Bool
    private var attributes: [String: String]
    /// What was let pass.
    private(set) var ignored: [CacheError] = []

    init(
        _ attributes: [String: String], type: CacheSpec.BackendType, direction: CacheSpec.Direction,
        environment: Environment,
        isLenient: Bool
    ) {
        self.attributes = attributes
        self.type = type
        self.direction = direction
        self.environment = environment
        self.isLenient = isLenient
    }

    // MARK: Faults

    func fault(_ message: String) -> CacheError {
        CacheError(
            .invalidSpec, message,
            context: CacheError.Context(backend: type.rawValue, operation: "parse", subject: direction.flag))
    }

    /// Throws `error`, or remembers it where BuildKit goes on.
    mutating func tolerate(_ error: CacheError) throws(CacheError) {
        guard isLenient else { throw error }
        ignored.append(error)
    }

    /// A fault of a combination, in which each attribute alone is fine.
    mutating func refuse(_ message: String, when isWrong: Bool) throws(CacheError) {
        if isWrong { try tolerate(fault(message)) }
    }

    /// Refuses, or drops, every attribute that this backend does not know or that does nothing here.
    mutating func checkKeys() throws(CacheError) {
        let known = OptionKey.all(of: type)
        let valid = known.filter { $0.directions.contains(direction) }.map(\.name)
        for key in attributes.keys.sorted() {
            // BuildKit's exporters other than these two do not look at compression at all.
            let isIgnored = isLenient && key.contains("compression") && ![.registry, .local].contains(type)
            if valid.contains(key), !isIgnored { continue }
            let isKnown = known.contains { $0.name == key }
            // Thousands of unknown keys are nobody's typing errors.
            let hint = ignored.count < 16 ? Suggestion.hint(for: key, among: valid) : ""
            let problem =
                if isKnown {
                    "\"\(key)\" has no effect on a \(direction.flag) of type=\(type.rawValue): remove it"
                        + ((["src": "dest", "dest": "src"][key].map { " or write \"\($0)\"" }) ?? "")
                } else if OptionKey.all(of: .registry).contains(where: { $0.name == key && $0.directions == [.export] })
                {
                    "\"\(key)\" has no effect on type=\(type.rawValue): remove it"
                } else {
                    "unknown key \(OptionKey.clipped(key)): \(hint)"
                        + (valid.isEmpty ? "there are no keys here" : "valid keys are \(valid.joined(separator: ", "))")
                }
            try tolerate(fault(problem))
            attributes[key] = nil
        }
    }

    // MARK: Values

    func has(_ key: String) -> Bool { attributes[key] != nil }

    /// The attribute, or else the first of `variables` that is set; `nil` when there is none.
    ///
    /// An attribute that is present but empty wins over the environment, as in BuildKit. An empty variable is a variable that
    /// CI systems set for a secret they do not have; only BuildKit's own way takes it for a value.
    func string(_ key: String, else variables: [String] = []) throws(CacheError) -> String? {
        let value = attributes[key] ?? variables.lazy.compactMap { environment[$0] }.first { isLenient || !$0.isEmpty }
        guard let value else { return nil }
        guard !value.utf8.contains(0),
            isLenient || !value.unicodeScalars.contains(where: { $0.properties.generalCategory == .control })
        else {
            throw fault("\(source(of: key, variables)) has a control character in it, such as a line break: remove it")
        }
        return value
    }

    /// A value that there must be.
    ///
    /// Empty counts as given only in BuildKit.
    func required(_ key: String, else variables: [String] = []) throws(CacheError) -> String {
        let value = try string(key, else: variables)
        guard let value, isLenient || !value.isEmpty else { throw missing(key, else: variables, isEmpty: value != nil) }
        return value
    }

    func missing(_ key: String, else variables: [String] = [], isEmpty: Bool = false) -> CacheError {
        let remedy = variables.isEmpty ? "" : " or set \(variables.joined(separator: " or "))"
        return fault("\"\(key)\" is \(isEmpty ? "empty" : "missing"): write \(key)=…\(remedy)")
    }

    /// A text that is never empty; `nil` when absent.
    mutating func nonEmpty(_ key: String, else variables: [String] = []) throws(CacheError) -> String? {
        let value = try string(key, else: variables)
        try refuse("\"\(key)\" is empty: remove it or give it a value", when: value?.isEmpty == true)
        return value
    }

    mutating func secret(_ key: String, else variables: [String] = []) throws(CacheError) -> Secret<String>? {
        let value = try nonEmpty(key, else: variables)
        try refuse(
            "\"\(key)\" is the placeholder that stands for a secret in printed specs: give the secret itself",
            when: value == OptionKey.redacted)
        return value.flatMap { $0.isEmpty ? nil : Secret($0) }
    }

    mutating func url(_ key: String, else variables: [String] = []) throws(CacheError) -> ServiceURL? {
        guard let value = try nonEmpty(key, else: variables), !value.isEmpty else { return nil }
        do { return try ServiceURL(value) } catch {
            throw fault("\(source(of: key, variables)) is no URL of a service: \(error.message)")
        }
    }

    /// A boolean.
    ///
    /// `isTolerated`: BuildKit takes what is none for `false`.
    mutating func bool(_ key: String, default fallback: Bool, isTolerated: Bool = false) throws(CacheError) -> Bool {
        guard let text = try string(key) else { return fallback }
        if let value = GoText.bool(text) { return value }
        let hint = Suggestion.hint(for: text, among: ["true", "false"])
        let problem = fault("\"\(key)\" is \(OptionKey.clipped(text)), which is no boolean: \(hint)write true or false")
        guard isTolerated else { throw problem }
        try tolerate(problem)
        return false
    }

    func integer(_ key: String) throws(CacheError) -> Int? {
        guard let text = try string(key) else { return nil }
        guard let value = Int(signedDecimal: text, in: Int.min...Int.max) else {
            throw fault("\"\(key)\" is \(OptionKey.clipped(text)), which is not a whole number")
        }
        return value
    }

    func positive(_ key: String) throws(CacheError) -> Int? {
        let value = try integer(key)
        if let value, value < 1 { throw fault("\"\(key)\" is \(value), it must be 1 or more") }
        return value
    }

    /// A duration, 0 or more.
    ///
    /// `isTolerated`: BuildKit takes the default for what is none.
    mutating func duration(_ key: String, default fallback: Duration, isTolerated: Bool = false) throws(CacheError)
        -> Duration
    {
        guard let text = try string(key) else { return fallback }
        guard let value = GoText.duration(text) else {
            let problem = fault(
                "\"\(key)\" is \(OptionKey.clipped(text)), which is no duration: write it as 90s, 10m or 1h30m")
            guard isTolerated else { throw problem }
            try tolerate(problem)
            return fallback
        }
        try refuse("\"\(key)\" is \(OptionKey.clipped(text)), it must not be negative", when: value < .zero)
        return value
    }

    /// One of a few words.
    ///
    /// `isTolerated`: BuildKit takes the default for any other.
    mutating func word<Word: RawRepresentable<String> & CaseIterable>(
        _ key: String, default fallback: Word, isTolerated: Bool = false
    ) throws(CacheError) -> Word {
        guard let text = try string(key) else { return fallback }
        if let value = Word(rawValue: text) { return value }
        let words = Word.allCases.map(\.rawValue)
        let hint = Suggestion.hint(for: text, among: words)
        let problem = fault(
            "\"\(key)\" is \(OptionKey.clipped(text)): \(hint)valid are \(words.joined(separator: ", "))")
        guard isTolerated else { throw problem }
        try tolerate(problem)
        return fallback
    }

    /// Names separated by `;`, each once and none empty.
    mutating func names(_ key: String) throws(CacheError) -> [String] {
        guard let text = try string(key) else { return CacheSpec.defaultNames }
        let parts = text.utf8.split(separator: UInt8(ascii: ";"), omittingEmptySubsequences: false)
        let names = parts.map { String(Substring($0)) }
        try refuse("\"\(key)\" is \(OptionKey.clipped(text)), in which a name is empty", when: names.contains(""))
        try refuse(
            "\"\(key)\" is \(OptionKey.clipped(text)), in which a name stands twice",
            when: Set(names).count < names.count)
        return names
    }

    private func source(of key: String, _ variables: [String]) -> String {
        guard attributes[key] == nil, let name = variables.first(where: { environment[$0] != nil }) else {
            return "\"\(key)\""
        }
        return "\"\(key)\" (from \(name))"
    }
}

extension CacheSpec {
    /// What `name` is by default.
    static let defaultNames = ["buildkit"]
}
