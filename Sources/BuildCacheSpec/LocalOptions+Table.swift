import BuildCacheCore

extension LocalOptions: OptionTable {
    static let table: [Option<LocalOptions>] = [
        Option(\.dest, .export("dest", isRequired: true), .nonEmpty),
        Option(\.src, .import("src", isRequired: true), .nonEmpty),
        Option(\.tag, .both("tag"), .any),
        Option(\.digest, .import("digest"), .digest),
        Option(\.reset, .export("reset"), .bool),
    ]

    var defaults: LocalOptions { LocalOptions(dest: "") }

    init(from reader: inout AttributeReader) throws(CacheError) {
        self.init(dest: "")
        dest = nil
        try read(from: &reader)
    }

    func check(_ reader: inout AttributeReader) throws(CacheError) {
        if digest != nil {
            try reader.refuse(
                "\"tag\" has no effect beside \"digest\": remove one of them", when: reader.attributes["tag"] != nil)
        } else if reader.direction == .import, tag.isEmpty {
            throw reader.fault("\"tag\" is empty: remove it, name a tag, or give the digest")
        }
    }
}
