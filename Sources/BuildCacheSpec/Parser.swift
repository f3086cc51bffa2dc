import BuildCacheCore

/// Parses the text of a `--cache-to` or `--cache-from`: into fields, these into attributes, and these into specs.
struct Parser {
    /// The longest text or JSON document that is looked at, in bytes.
    static let maximumLength = 64 * 1024

    let direction: CacheSpec.Direction
    let environment: Environment
    let leniency: CacheSpec.Leniency
    var dialect = CacheSpec.Dialect.buildx
    /// The faults that were let pass.
    private(set) var ignored: [CacheError] = []

    private var isLenient: Bool { leniency == .lenient }

    private func fault(_ message: String, _ code: CacheError.Code = .invalidSpec) -> CacheError {
        CacheError(code, message, context: CacheError.Context(operation: "parse", subject: direction.flag))
    }

    private mutating func tolerate(_ error: CacheError) throws(CacheError) {
        guard isLenient else { throw error }
        ignored.append(error)
    }

    private func checkText(_ text: String) throws(CacheError) {
        guard text.utf8.count <= Parser.maximumLength else {
            throw fault(
                "the text is \(text.utf8.count) bytes long, at most \(Parser.maximumLength) are read", .limitExceeded)
        }
        guard !text.utf8.contains(0) else { throw fault("the text has a NUL byte in it") }
    }

    // MARK: Text

    mutating func parse(text: String) throws(CacheError) -> [CacheSpec] {
        try checkText(text)
        // `$(cat file)` and here-documents end in a line break, which is not part of a value.
        var line = Substring(text)
        if line.unicodeScalars.last == "\n" {
            line.unicodeScalars.removeLast()
            if line.unicodeScalars.last == "\r" { line.unicodeScalars.removeLast() }
        }
        if let control = line.unicodeScalars.first(where: { $0.properties.generalCategory == .control }) {
            try tolerate(fault("the text has the control character \(String(control).quoted) in it: remove it"))
        }
        guard !line.isEmpty else { return [] }

        // buildctl takes a text for options only if it names a type, and knows no lists of references.
        if dialect == .buildctl, !line.contains("type=") { return try parse(["ref": String(line)], type: "registry") }
        let fields: [String]
        do { fields = try CSV.fields(of: line) } catch { throw fault(error.message) }
        if line.utf8.contains(UInt8(ascii: "=")) { return try parse(fields: fields) }
        var specs: [CacheSpec] = []
        for field in fields { specs += try parse(["ref": field], type: "registry") }
        return specs
    }

    private mutating func parse(fields: [String]) throws(CacheError) -> [CacheSpec] {
        var pairs: [(key: String, value: String)] = []
        for (index, field) in fields.enumerated() {
            guard let equals = field.utf8.firstIndex(of: UInt8(ascii: "=")) else {
                // After a secret it may be the rest of one that has a comma in it.
                let shown =
                    pairs.contains { OptionKey.shown($0.value, of: $0.key).contains(OptionKey.redacted) }
                    ? "" : " " + field.quoted
                throw fault(
                    "field \(index + 1)\(shown) is an invalid value: key=value is expected, a comma in a value needs quotes"
                )
            }
            let key = String(field[..<equals]).lowercased()
            pairs.append((key, String(field.utf8[field.utf8.index(after: equals)...]) ?? ""))
        }
        return try parse(pairs: pairs)
    }

    private mutating func parse(pairs: [(key: String, value: String)]) throws(CacheError) -> [CacheSpec] {
        var attributes: [String: String] = [:]
        for (key, value) in pairs where attributes.updateValue(value, forKey: key) != nil {
            try tolerate(fault("\(key.quoted) is given twice: remove one of them"))
        }
        guard let type = attributes.removeValue(forKey: "type"), !type.isEmpty else {
            let shown = pairs.map { $0.key == "type" ? "type=" : "\($0.key)=\(OptionKey.shown($0.value, of: $0.key))" }
            throw fault("type required for \(CSV.line(of: shown).quoted)")
        }
        return try parse(attributes, type: type)
    }

    // MARK: JSON

    /// Parses an object, which is a spec, a string, which is text, or an array of any number of both.
    mutating func parse(json: String) throws(CacheError) -> [CacheSpec] {
        try checkText(json)
        do {
            return try JSONReader.read(Array(json.utf8), as: "the cache option") {
                (reader) throws(CacheError) -> [CacheSpec] in
                guard reader.peek() == UInt8(ascii: "["), try reader.beginArray() else {
                    return try self.parse(entry: &reader)
                }
                var specs: [CacheSpec] = []
                while try reader.nextElement() { specs += try self.parse(entry: &reader) }
                return specs
            }
        } catch {
            throw error.code == .corrupted ? fault(error.message) : error
        }
    }

    private mutating func parse(entry reader: inout JSONReader) throws(CacheError) -> [CacheSpec] {
        switch reader.peek() {
        case UInt8(ascii: "\""): return try parse(text: try reader.string() ?? "")
        case UInt8(ascii: "{"):
            var pairs: [(key: String, value: String)] = []
            _ = try reader.beginObject()
            while let key = try reader.nextKey() {
                guard reader.peek() == UInt8(ascii: "\"") else {
                    throw reader.invalid("\(key.text.quoted) is no string: quote it")
                }
                pairs.append((key.text, try reader.string() ?? ""))
            }
            return try parse(pairs: pairs)
        default:
            try reader.skipValue()
            try tolerate(fault("an entry is neither an object nor a string: remove it"))
            return []
        }
    }

    // MARK: Specs

    /// The spec of these attributes, or none if lenient parsing drops it.
    private mutating func parse(_ attributes: [String: String], type text: String) throws(CacheError) -> [CacheSpec] {
        guard let type = CacheSpec.BackendType(rawValue: text) else {
            let types = CacheSpec.BackendType.allCases.map(\.rawValue)
            let problem = fault(
                "unknown type \(OptionKey.clipped(text)): \(Suggestion.hint(for: text, among: types))valid are \(types.joined(separator: ", "))"
            )
            // BuildKit refuses to export to it, and builds without what it cannot import.
            guard direction == .import else { throw problem }
            try tolerate(problem)
            return []
        }
        var reader = AttributeReader(
            type: type, direction: direction, environment: environment, isLenient: isLenient, attributes: attributes)
        defer { ignored += reader.ignored }
        if isLenient, type == .gha, dialect == .buildx, let inactivity = GitHubActionsOptions.inactivity(reader) {
            ignored.append(inactivity)
            return []
        }
        do {
            return [try CacheSpec(from: &reader)]
        } catch {
            // A fault of an importer stops a build if the client finds it, and not if the daemon does.
            let isFoundByClient =
                type == .local || (type == .gha && dialect == .buildctl)
                || (type == .registry && attributes["ref", default: ""].isEmpty)
            guard isLenient, direction == .import, !isFoundByClient else { throw error }
            ignored.append(error)
            return []
        }
    }
}

extension CacheSpec {
    fileprivate init(from reader: inout AttributeReader) throws(CacheError) {
        try reader.checkKeys()
        backend =
            switch reader.type {
            case .inline: .inline
            case .registry: .registry(try RegistryOptions(from: &reader))
            case .local: .local(try LocalOptions(from: &reader))
            case .gha: .gha(try GitHubActionsOptions(from: &reader))
            case .s3: .s3(try S3Options(from: &reader))
            case .azblob: .azblob(try AzureBlobOptions(from: &reader))
            }
        export = reader.direction == .export ? try ExportOptions(from: &reader) : nil
    }
}
