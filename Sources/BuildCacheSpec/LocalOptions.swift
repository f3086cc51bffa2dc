public import BuildCacheCore

/// The options of `type=local`.
///
/// - Source: `Documentation/Spec/spec-syntax.md` §4, local.
public struct LocalOptions: Hashable, Sendable {
    /// `dest`: the directory to write to, required when exporting.
    public var dest: String?
    /// `src`: the directory to read from, required when importing.
    public var src: String?
    /// `tag`: the name of the cache in the directory.
    ///
    /// Default `latest`. When exporting any text is a name, even none.
    public var tag: String
    /// `digest`: the manifest to import; it wins over ``tag``.
    public var digest: Digest?
    /// `reset`: after the export, removes what no cache in the directory needs.
    ///
    /// Default `false`.
    public var reset: Bool

    /// Makes options for an export.
    public init(dest: String, tag: String = "latest", reset: Bool = false) {
        self.dest = dest
        self.tag = tag
        self.reset = reset
    }

    /// Makes options for an import.
    public init(src: String, tag: String = "latest", digest: Digest? = nil) {
        self.src = src
        self.tag = tag
        self.digest = digest
        reset = false
    }
}

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
