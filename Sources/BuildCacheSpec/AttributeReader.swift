import BuildCacheCore

/// The attributes of one spec, from which the tables of options read their values.
///
/// Every fault is thrown. Faults that BuildKit ignores go through ``tolerate(_:)``, which throws them only when parsing is strict.
struct AttributeReader {
    let type: CacheSpec.BackendType
    let direction: CacheSpec.Direction
    let environment: Environment
    let isLenient: Bool
    /// The attributes as they are written.
    private(set) var attributes: [String: String]
    /// The faults that were let pass.
    private(set) var ignored: [CacheError] = []

    private var keys: [OptionKey] { OptionKey.all(of: type) }

    // MARK: Faults

    func fault(_ message: String) -> CacheError {
        CacheError(
            .invalidSpec, message,
            context: CacheError.Context(backend: type.rawValue, operation: .parse, subject: direction.flag))
    }

    /// The fault of an option that is required, with its variables and `others` as remedies.
    func missing(_ name: String, isEmpty: Bool = false, orSet others: [String] = []) -> CacheError {
        let variables = key(name).variables + others
        let remedy = variables.isEmpty ? "" : " or set \(variables.joined(separator: " or "))"
        return fault("\"\(name)\" is \(isEmpty ? "empty" : "missing"): write \(name)=…\(remedy)")
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

    /// Refuses, or drops, every attribute that this backend does not know or that has no effect here.
    mutating func checkKeys() throws(CacheError) {
        guard type != .inline || direction == .export else {
            throw fault("an inline cache is imported with type=registry,ref=… and the name of its image")
        }
        let valid = keys.filter { $0.directions.contains(direction) }.map(\.name)
        for key in attributes.keys.sorted() {
            // BuildKit's exporters other than these two do not look at compression at all.
            let isIgnored = isLenient && key.contains("compression") && ![.registry, .local].contains(type)
            if valid.contains(key), !isIgnored { continue }
            let problem =
                if keys.contains(where: { $0.name == key }) {
                    "\"\(key)\" has no effect on a \(direction.flag) of type=\(type.rawValue): remove it"
                        + ((["src": "dest", "dest": "src"][key].map { " or write \"\($0)\"" }) ?? "")
                } else if ExportOptions.keys.contains(where: { $0.name == key }) {
                    "\"\(key)\" has no effect on type=\(type.rawValue): remove it"
                } else {
                    // Thousands of unknown keys are not typing errors.
                    "unknown key \(OptionKey.clipped(key)): "
                        + (ignored.count < 16 ? Suggestion.hint(for: key, among: valid) : "")
                        + (valid.isEmpty ? "there are no keys here" : "valid keys are \(valid.joined(separator: ", "))")
                }
            try tolerate(fault(problem))
            attributes[key] = nil
        }
    }

    // MARK: Values

    /// Whether the option is given, by its attribute or by a variable.
    func isGiven(_ name: String) -> Bool { given(key(name)) != nil }

    /// Whether the option is given and not empty.
    func isFilled(_ name: String) -> Bool { given(key(name))?.text.isEmpty == false }

    /// Adds the attributes whose options are not given.
    mutating func fill(in others: [(key: OptionKey, text: String)]) {
        for other in others where given(other.key) == nil { attributes[other.key.name] = other.text }
    }

    /// The value of an option that has no default.
    mutating func required<Value>(_ name: String, _ format: OptionFormat<Value>) throws(CacheError) -> Value {
        guard let value = try value(of: key(name), as: format) else { throw missing(name) }
        return value
    }

    /// The value of an option; `nil` if it is not given, or if its default counts.
    mutating func value<Value>(of key: OptionKey, as format: OptionFormat<Value>) throws(CacheError) -> Value? {
        guard key.directions.contains(direction) else { return nil }
        guard let (text, variable) = given(key) else {
            guard !key.isRequired else { throw missing(key.name) }
            return nil
        }
        let name = "\"\(key.name)\"\(variable.map { " (from \($0))" } ?? "")"
        guard !text.utf8.contains(0),
            isLenient || !text.unicodeScalars.contains(where: { $0.properties.generalCategory == .control })
        else { throw fault("\(name) has a control character in it, such as a line break: remove it") }
        let reading = format.read(text, name)
        // Empty counts as given only in BuildKit, and only where the form has such a value.
        if text.isEmpty, key.isRequired, !isLenient || reading.value == nil { throw missing(key.name, isEmpty: true) }
        if let problem = reading.problem {
            guard reading.isTolerated else { throw fault(problem) }
            try tolerate(fault(problem))
        }
        return reading.value
    }

    /// The text of the attribute, or else of the first variable that is set, with its name.
    ///
    /// An attribute that is present but empty wins over the environment, as in BuildKit. CI systems set an empty variable for a
    /// secret that they do not have; only BuildKit takes it for a value.
    private func given(_ key: OptionKey) -> (text: String, variable: String?)? {
        if let text = attributes[key.name] { return (text, nil) }
        guard key.readsVariables(self) else { return nil }
        for variable in key.variables {
            if let text = environment[variable], isLenient || !text.isEmpty { return (text, variable) }
        }
        return nil
    }

    private func key(_ name: String) -> OptionKey { keys.first { $0.name == name } ?? .both(name) }
}
