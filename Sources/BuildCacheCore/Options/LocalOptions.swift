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
