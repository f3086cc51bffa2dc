import BuildCacheCore

extension CacheSpec: CustomStringConvertible {
    /// The shortest text of this spec, its secrets shown as `<redacted>`: `user/app:cache`, or `type=local,dest=cache`.
    public var description: String { text(of: attributes.map { ($0.key.name, $0.key.shown($0.text)) }) }

    /// The shortest text of this spec, secrets and all: what ``parse(_:for:environment:leniency:dialect:onIgnored:)``
    /// turns into this spec again.
    ///
    /// Hand it to another program, and print it nowhere.
    public func textExposingSecrets() -> String { text(of: attributes.map { ($0.key.name, $0.text) }) }

    /// The JSON form, keys sorted, secrets shown as `<redacted>`.
    public func json() -> String { json(of: attributes.map { ($0.key.name, $0.key.shown($0.text)) }) }

    /// The JSON form, keys sorted, secrets and all.
    ///
    /// Hand it to another program, and print it nowhere.
    public func jsonExposingSecrets() -> String { json(of: attributes.map { ($0.key.name, $0.text) }) }

    /// The options that differ from their defaults.
    var attributes: [(key: OptionKey, text: String)] {
        (backend.options?.attributes ?? []) + (export?.attributes ?? [])
    }

    private func text(of attributes: [(key: String, value: String)]) -> String {
        if type == .registry, attributes.count == 1, let ref = attributes.first { return ref.value }
        return CSV.line(of: ["type=\(type.rawValue)"] + attributes.map { "\($0.key)=\($0.value)" })
    }

    private func json(of attributes: [(key: String, value: String)]) -> String {
        var writer = JSONWriter()
        writer.beginObject()
        for (key, value) in (attributes + [("type", type.rawValue)]).sorted(by: { $0.0 < $1.0 }) {
            writer.key(key)
            writer.string(value)
        }
        writer.endObject()
        return String(decoding: writer.bytes, as: UTF8.self)
    }
}
