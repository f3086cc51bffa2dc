import BuildCacheCore

/// A mount of `RUN --mount`, its words expanded.
///
/// - Source: BuildKit `frontend/dockerfile/instructions/commands_runmount.go`.
struct RunMount: Sendable {
    enum Kind: String { case bind, cache, tmpfs, secret, ssh }
    enum Sharing: String { case shared, `private`, locked }

    var kind = Kind.bind
    var from: Text = []
    var source: Text = []
    var target: Text = []
    var isReadOnly = false
    var size: Int64 = 0
    var id: Text = []
    var sharing: Sharing?
    var isRequired = false
    var variable: Text?
    var mode: UInt32?
    var uid: UInt32?
    var gid: UInt32?

    /// The stage or image that a mount is of, before variables are known; `nil` for none.
    static func from(_ text: Text) throws(CacheError) -> Text? {
        var found: Text?
        for field in try fields(text) {
            guard let (key, value) = field.cut("="), key.lowercased.isExactly("from") else { continue }
            guard !value.dropLast().contains("$") else {
                throw CacheError(
                    .invalidSpec, "variables in from= are not possible; name the image in a stage of its own")
            }
            found = value
        }
        return found.flatMap { $0.isEmpty ? nil : $0 }
    }

    private static func fields(_ text: Text) throws(CacheError) -> [Text] {
        guard !text.contains("\"") else { throw CacheError(.unsupported, "quotes inside of --mount are not supported") }
        return text.split(separator: ",", omittingEmptySubsequences: false).map { Text($0) }
    }

    init(_ text: Text, expand: (Text) throws(CacheError) -> Text) throws(CacheError) {
        var isReadOnlySet = false
        for field in try RunMount.fields(text) {
            guard let (key, raw) = field.cut("=") else {
                switch field.lowercased.string {
                case "readonly", "ro": (isReadOnly, isReadOnlySet) = (true, true)
                case "readwrite", "rw": (isReadOnly, isReadOnlySet) = (false, true)
                case "required" where kind == .secret || kind == .ssh: isRequired = true
                default: throw RunMount.invalid(field, "expected key=value")
                }
                continue
            }
            let name = key.lowercased.string
            let value = try expand(raw)
            switch name {
            case "readonly", "ro": (isReadOnly, isReadOnlySet) = (try RunMount.bool(name, value), true)
            case "readwrite", "rw": (isReadOnly, isReadOnlySet) = (try !RunMount.bool(name, value), true)
            case "required" where kind == .secret || kind == .ssh: isRequired = try RunMount.bool(name, value)
            case "size" where kind == .tmpfs: size = try RunMount.bytes(value)
            default: try set(name, value)
            }
        }
        if !isReadOnlySet { isReadOnly = kind != .cache && kind != .tmpfs }
        try check()
    }

    private mutating func set(_ name: String, _ value: Text) throws(CacheError) {
        switch name {
        case "type":
            guard let kind = Kind(rawValue: value.lowercased.string) else {
                throw RunMount.invalid(value, "expected bind, cache, tmpfs, secret or ssh")
            }
            self.kind = kind
        case "from": from = value
        case "source", "src": source = value
        case "target", "dst", "destination": target = value
        case "id": id = value
        case "sharing":
            guard let sharing = Sharing(rawValue: value.lowercased.string) else {
                throw RunMount.invalid(value, "expected shared, private or locked")
            }
            self.sharing = sharing
        case "mode": mode = try RunMount.number(name, value, radix: 8)
        case "uid": uid = try RunMount.number(name, value, radix: 10)
        case "gid": gid = try RunMount.number(name, value, radix: 10)
        case "env":
            guard !value.isEmpty else { throw CacheError(.unsupported, "env= without a name is not supported") }
            variable = value
        default:
            throw CacheError(
                .invalidSpec, "the key \(name.quoted) is not possible for a mount of type \(kind.rawValue)")
        }
    }

    private func check() throws(CacheError) {
        guard kind != .bind && kind != .tmpfs || mode == nil && uid == nil && gid == nil else {
            throw CacheError(.invalidSpec, "mode, uid and gid are not possible for a mount of type \(kind.rawValue)")
        }
        guard sharing == nil || kind == .cache else {
            throw CacheError(.invalidSpec, "sharing is not possible for a mount of type \(kind.rawValue)")
        }
        switch kind {
        case .secret:
            guard from.isEmpty else { throw CacheError(.invalidSpec, "from is not possible for a secret") }
            guard !source.isEmpty || !target.isEmpty || !id.isEmpty else {
                throw CacheError(.invalidSpec, "a secret has neither id nor target")
            }
            guard source.isEmpty || id.isEmpty else {
                throw CacheError(.invalidSpec, "a secret has both source and id: expected one of them")
            }
        case .ssh:
            guard source.isEmpty else {
                throw CacheError(.invalidSpec, "source is not possible for a mount of type ssh")
            }
        default: break
        }
    }

    private static func invalid(_ value: Text, _ expected: String) -> CacheError {
        CacheError(.invalidSpec, "invalid mount option \(value.string.quoted): \(expected)")
    }

    private static func bool(_ name: String, _ value: Text) throws(CacheError) -> Bool {
        switch value.string {
        case "1", "t", "T", "true", "TRUE", "True": return true
        case "0", "f", "F", "false", "FALSE", "False": return false
        default: throw CacheError(.invalidSpec, "invalid \(name) \(value.string.quoted): expected true or false")
        }
    }

    private static func number(_ name: String, _ value: Text, radix: UInt8) throws(CacheError) -> UInt32 {
        guard let number = UInt32(digits: value.string, radix: radix, in: 0...UInt32.max) else {
            throw CacheError(
                .invalidSpec, "invalid \(name) \(value.string.quoted): expected digits of base \(radix)")
        }
        return number
    }

    /// A size in bytes, perhaps with a unit, as in `10m`.
    private static func bytes(_ value: Text) throws(CacheError) -> Int64 {
        let digits = Text(value.prefix { $0.isDigit })
        let units = ["", "k", "m", "g", "t", "p"]
        var unit = Text(value.dropFirst(digits.count)).lowercased.string
        for suffix in ["ib", "b"] where unit.hasSuffix(suffix) {
            unit.removeLast(suffix.count)
            break
        }
        guard let power = units.firstIndex(of: unit.trimmingBlanks),
            let number = Int64(decimal: digits.string, in: 0...Int64.max >> Int64(10 * power))
        else { throw CacheError(.invalidSpec, "invalid size \(value.string.quoted): expected a number like 64m") }
        return number << Int64(10 * power)
    }
}

extension String {
    fileprivate var trimmingBlanks: String { String(drop { $0 == " " }) }
}
