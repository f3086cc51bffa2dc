import BuildCacheCore

extension CacheSpec: CustomStringConvertible {
    /// The shortest text of this spec, its secrets shown as `<redacted>`: `user/app:cache`, or `type=local,dest=cache`.
    public var description: String { text(of: attributes.map { ($0.key, $0.shown) }) }

    /// The shortest text of this spec, secrets and all: what ``parse(_:for:environment:leniency:dialect:onIgnored:)``
    /// turns into this spec again.
    ///
    /// Hand it to another program, and print it nowhere.
    public func textExposingSecrets() -> String { text(of: attributes.map { ($0.key, $0.value) }) }

    /// The JSON form, keys sorted, secrets shown as `<redacted>`.
    public func json() -> String { json(of: attributes.map { ($0.key, $0.shown) }) }

    /// The JSON form, keys sorted, secrets and all.
    ///
    /// Hand it to another program, and print it nowhere.
    public func jsonExposingSecrets() -> String { json(of: attributes.map { ($0.key, $0.value) }) }

    /// The attributes that differ from their defaults.
    var attributes: [(key: String, value: String, shown: String)] {
        var writer = AttributeWriter()
        switch backend {
        case .inline: break
        case .registry(let options): options.write(to: &writer)
        case .local(let options): options.write(to: &writer)
        case .gha(let options): options.write(to: &writer)
        case .s3(let options): options.write(to: &writer)
        case .azblob(let options): options.write(to: &writer)
        }
        export?.write(to: &writer)
        return writer.attributes
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
