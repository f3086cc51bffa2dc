import BuildCacheCore

/// Turns the text of an option into specs: first into fields, then each entry's fields into attributes, then these into values.
struct Parser {
    /// The longest text or JSON document that is looked at, in bytes.
    static let maximumLength = 64 * 1024

    let direction: CacheSpec.Direction
    let environment: Environment
    let leniency: CacheSpec.Leniency
    let dialect: CacheSpec.Dialect
    /// What was let pass.
    private(set) var ignored: [CacheError] = []

    init(
        direction: CacheSpec.Direction, environment: Environment, leniency: CacheSpec.Leniency,
        dialect: CacheSpec.Dialect = .buildx
    ) {
        self.direction = direction
        self.environment = environment
        self.leniency = leniency
        self.dialect = dialect
    }

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

    mutating func specs(text: String) throws(CacheError) -> [CacheSpec] {
        try checkText(text)
        // `$(cat file)` and here-documents end in a line break; it is nobody's value.
        var line = Substring(text)
        if line.utf8.last == 10 {
            line = Substring(line.utf8.dropLast(line.utf8.suffix(2).elementsEqual([13, 10]) ? 2 : 1))
        }
        if let control = line.unicodeScalars.first(where: { $0.properties.generalCategory == .control }) {
            try tolerate(fault("the text has the control character \(String(control).quoted) in it: remove it"))
        }
        guard !line.isEmpty else { return [] }

        // buildctl takes a text for options only if it names a type, and knows no lists of references.
        if dialect == .buildctl, !line.contains("type=") { return try spec(reference: String(line)).map { [$0] } ?? [] }
        let fields: [String]
        do { fields = try CSV.fields(of: line) } catch { throw fault(error.message) }
        guard line.utf8.contains(UInt8(ascii: "=")) else {
            var specs: [CacheSpec] = []
            for field in fields { if let spec = try spec(reference: field) { specs.append(spec) } }
            return specs
        }
        return try spec(fields: fields).map { [$0] } ?? []
    }

    private mutating func spec(reference: String) throws(CacheError) -> CacheSpec? {
        try spec(attributes: ["ref": reference], type: CacheSpec.BackendType.registry.rawValue)
    }

    private mutating func spec(fields: [String]) throws(CacheError) -> CacheSpec? {
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
        return try spec(pairs: pairs)
    }

    private mutating func spec(pairs: [(key: String, value: String)]) throws(CacheError) -> CacheSpec? {
        var attributes: [String: String] = [:]
        for (key, value) in pairs {
            if attributes[key] != nil { try tolerate(fault("\(key.quoted) is given twice: remove one of them")) }
            attributes[key] = value
        }
        let type = attributes.removeValue(forKey: "type")
        guard let type, !type.isEmpty else {
            let shown = pairs.map { $0.key == "type" ? "type=" : "\($0.key)=\(OptionKey.shown($0.value, of: $0.key))" }
            throw fault("type required for \(CSV.line(of: shown).quoted)")
        }
        return try spec(attributes: attributes, type: type)
    }

    // MARK: JSON

    /// An object is an entry, a string is text, and an array holds any number of both.
    mutating func specs(json: String) throws(CacheError) -> [CacheSpec] {
        try checkText(json)
        // Values first and specs later: the reader works on bytes that live no longer than this closure.
        let entries: Result<[Entry], CacheError> = {
            var json = json
            return json.withUTF8 { bytes in
                do throws(CacheError) { return .success(try Parser.entries(in: UnsafeRawBufferPointer(bytes))) } catch {
                    return .failure(error)
                }
            }
        }()
        var specs: [CacheSpec] = []
        do {
            for entry in try entries.get() {
                switch entry {
                case .text(let text): specs += try self.specs(text: text)
                case .object(let pairs): if let spec = try spec(pairs: pairs) { specs.append(spec) }
                case .unknown: try tolerate(fault("an entry is neither an object nor a string: remove it"))
                }
            }
        } catch {
            throw error.code == .corrupted ? fault(error.message) : error
        }
        return specs
    }

    private enum Entry {
        case text(String)
        case object([(key: String, value: String)])
        case unknown
    }

    private static func entries(in bytes: UnsafeRawBufferPointer) throws(CacheError) -> [Entry] {
        var reader = JSONReader(bytes, document: "the cache option")
        var entries: [Entry] = []
        if reader.peek() == UInt8(ascii: "["), try reader.beginArray() {
            while try reader.nextElement() { entries.append(try entry(&reader)) }
        } else {
            entries.append(try entry(&reader))
        }
        try reader.finish()
        return entries
    }

    private static func entry(_ reader: inout JSONReader) throws(CacheError) -> Entry {
        switch reader.peek() {
        case UInt8(ascii: "\""): return .text(try reader.string() ?? "")
        case UInt8(ascii: "{"):
            var pairs: [(key: String, value: String)] = []
            guard try reader.beginObject() else { return .unknown }
            while let key = try reader.nextKey() {
                guard reader.peek() == UInt8(ascii: "\"") else {
                    throw reader.invalid("\(key.text.quoted) is no string: quote it")
                }
                pairs.append((key.text, try reader.string() ?? ""))
            }
            return .object(pairs)
        default:
            try reader.skipValue()
            return .unknown
        }
    }

    // MARK: Entries

    mutating func spec(attributes: [String: String], type text: String) throws(CacheError) -> CacheSpec? {
        guard let type = CacheSpec.BackendType(rawValue: text) else {
            let types = CacheSpec.BackendType.allCases.map(\.rawValue)
            let problem = fault(
                "unknown type \(OptionKey.clipped(text)): \(Suggestion.hint(for: text, among: types))valid are \(types.joined(separator: ", "))"
            )
            // BuildKit refuses to export to it, and builds without what it cannot import.
            guard direction == .import else { throw problem }
            try tolerate(problem)
            return nil
        }
        var reader = AttributeReader(
            attributes, type: type, direction: direction, environment: environment, isLenient: isLenient)
        defer { ignored += reader.ignored }
        do {
            if isLenient, type == .gha, dialect == .buildx,
                let inactivity = try GitHubActionsOptions.inactivity(&reader)
            {
                ignored.append(inactivity)
                return nil
            }
            return try spec(&reader)
        } catch {
            // What the daemon finds wrong with an importer does not stop a build; what the client finds does.
            let isFoundByClient =
                type == .local || (type == .gha && dialect == .buildctl)
                || (type == .registry && attributes["ref", default: ""].isEmpty)
            guard isLenient, direction == .import, !isFoundByClient else { throw error }
            ignored.append(error)
            return nil
        }
    }

    private func spec(_ reader: inout AttributeReader) throws(CacheError) -> CacheSpec {
        guard reader.type != .inline || direction == .export else {
            throw reader.fault("an inline cache is imported with type=registry,ref=… and the name of its image")
        }
        try reader.checkKeys()
        let backend: CacheSpec.Backend =
            switch reader.type {
            case .inline: .inline
            case .registry: .registry(try RegistryOptions(from: &reader))
            case .local: .local(try LocalOptions(from: &reader))
            case .gha: .gha(try GitHubActionsOptions(from: &reader))
            case .s3: .s3(try S3Options(from: &reader))
            case .azblob: .azblob(try AzureBlobOptions(from: &reader))
            }
        guard direction == .export else { return CacheSpec(importingFrom: backend) }
        return CacheSpec(exportingTo: backend, try ExportOptions(from: &reader))
    }
}
