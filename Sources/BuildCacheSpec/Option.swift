import BuildCacheCore

/// A row of a table of options: a key, the property that it sets, and the text form of a value.
///
/// Parsing, rendering, validation, the hints of errors and the check of the documentation's tables follow from the rows.
struct Option<Options: OptionTable>: Sendable {
    let key: OptionKey
    /// Sets the property if the option is given.
    let read: @Sendable (inout Options, inout AttributeReader) throws(CacheError) -> Void
    /// The text of the property; `nil` if it has no value.
    let text: @Sendable (Options) -> String?
    /// Whether both have the same value.
    let isSame: @Sendable (Options, Options) -> Bool

    init<Value>(
        _ property: any WritableKeyPath<Options, Value> & Sendable, _ key: OptionKey, _ format: OptionFormat<Value>
    ) {
        self.init(key, format, get: { $0[keyPath: property] }, set: { $0[keyPath: property] = $1 })
    }

    init<Value>(
        _ property: any WritableKeyPath<Options, Value?> & Sendable, _ key: OptionKey, _ format: OptionFormat<Value>
    ) {
        self.init(key, format, get: { $0[keyPath: property] }, set: { $0[keyPath: property] = $1 })
    }

    private init<Value>(
        _ key: OptionKey, _ format: OptionFormat<Value>, get: @escaping @Sendable (Options) -> Value?,
        set: @escaping @Sendable (inout Options, Value) -> Void
    ) {
        var key = key
        key.privacy = format.privacy
        self.key = key
        read = { [key] (options, reader) throws(CacheError) in
            if let value = try reader.value(of: key, as: format) { set(&options, value) }
        }
        text = { get($0).map(format.text) }
        isSame = { get($0) == get($1) }
    }
}

/// Options that are read, written and checked by a table.
protocol OptionTable: Sendable {
    /// The rows, in the order in which they are read and written.
    static var table: [Option<Self>] { get }
    /// The same options with the default of each that has one.
    var defaults: Self { get }
    /// Reads the options that are given.
    init(from reader: inout AttributeReader) throws(CacheError)
    /// Refuses combinations of options that are valid one by one.
    func check(_ reader: inout AttributeReader) throws(CacheError)
}

extension OptionTable {
    static var keys: [OptionKey] { table.map(\.key) }

    /// Sets the properties whose options are given, and checks them together.
    mutating func read(from reader: inout AttributeReader) throws(CacheError) {
        for option in Self.table { try option.read(&self, &reader) }
        try check(&reader)
    }

    /// The options that are required or differ from their defaults.
    var attributes: [(key: OptionKey, text: String)] {
        let defaults = defaults
        return Self.table.compactMap { option in
            guard option.key.isRequired || !option.isSame(self, defaults) else { return nil }
            return option.text(self).map { (option.key, $0) }
        }
    }

    /// Checks that the reader, which has these ``attributes``, reads the same options.
    ///
    /// - Throws: `.invalidSpec` that names the option at fault.
    func validate(_ reader: inout AttributeReader) throws(CacheError) {
        let read = try Self(from: &reader)
        for option in Self.table where !option.isSame(self, read) {
            let shown = option.key.shown(option.text(self) ?? "").quoted
            throw reader.fault("\"\(option.key.name)\" has no text form: \(shown) is read as another value")
        }
    }
}
