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

    private static let defaultTag = "latest"
    private static let digestGrammar = "sha256: and 64 lower-case hex digits are expected"

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

    init(from reader: inout AttributeReader) throws(CacheError) {
        tag = try reader.string("tag") ?? LocalOptions.defaultTag
        reset = try reader.bool("reset", default: false)
        let key = reader.direction == .export ? "dest" : "src"
        let path = try reader.required(key)
        guard !path.isEmpty else { throw reader.missing(key, isEmpty: true) }
        if reader.direction == .export { dest = path } else { src = path }

        if let text = try reader.string("digest") {
            do { digest = try Digest(text) } catch {
                throw reader.fault("\"digest\" is \(OptionKey.clipped(text)): \(LocalOptions.digestGrammar)")
            }
            try reader.refuse("\"tag\" has no effect beside \"digest\": remove one of them", when: reader.has("tag"))
        } else if reader.direction == .import, tag.isEmpty {
            throw reader.fault("\"tag\" is empty: remove it, name a tag, or give the digest")
        }
    }

    func write(to writer: inout AttributeWriter) {
        writer.text("dest", dest)
        writer.text("src", src)
        writer.text("tag", tag, default: LocalOptions.defaultTag)
        writer.text("digest", digest?.description)
        writer.flag("reset", reset)
    }
}
