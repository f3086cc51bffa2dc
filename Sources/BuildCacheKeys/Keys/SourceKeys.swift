public import BuildCacheCore

/// The keys of a source: what it resolved to, never its name.
///
/// An image has two keys, of its manifest and of its layers, which are alternatives; a directory of the client has none that another
/// build could have.
///
/// - Source: `Documentation/Spec/cache-keys.md` §4.
public struct SourceKeys: Hashable, Sendable {
    /// The digests from which the records are made; empty for a source that only this build can know.
    public var digests: [Digest]

    /// Takes the texts behind `buildkit.source.v0:`.
    private init(keys: [String]) { digests = keys.map { Digest(of: Array("buildkit.source.v0:\($0)".utf8)) } }

    /// A directory of the client: no other build can know it, so that steps are found by its content alone.
    public static let local = SourceKeys(keys: [])

    /// The record digests, each of which stands for the source.
    public var records: [Digest] { digests.map { .record(operation: $0, output: 0) } }

    /// An image of a registry or of an OCI layout.
    ///
    /// - Parameters:
    ///   - digest: What the name resolves to: the index of an image for several platforms.
    ///   - diffIDs: The layers of the image for this platform, bottom first.
    ///   - platform: The platform of the operation.
    ///   - layerLimit: How many layers are used; `nil` for all.
    public init(
        image digest: Digest, diffIDs: [DiffID], platform: LLB.Platform, layerLimit: Int? = nil
    ) {
        var keys = ["\(SourceKeys.manifestKey(digest, platform, layerLimit))"]
        let used = layerLimit.map { Array(diffIDs.prefix(max(0, $0))) } ?? diffIDs
        if let chain = SourceKeys.chainID(used) { keys.append("\(chain)") }
        self.init(keys: keys)
    }

    /// The chain ID of layers, bottom first; `nil` for none.
    ///
    /// - Source: OCI image-spec, config.md "Layer ChainID".
    public static func chainID(_ diffIDs: [DiffID]) -> Digest? {
        guard let first = diffIDs.first else { return nil }
        return diffIDs.dropFirst().reduce(first.digest) { Digest(of: Array("\($0) \($1)".utf8)) }
    }

    static func manifestKey(_ digest: Digest, _ platform: LLB.Platform, _ layerLimit: Int?) -> Digest {
        var writer = JSONWriter()
        writer.beginObject()
        writer.key("Digest")
        writer.digest(digest)
        platform.normalized.write(to: &writer)
        if let layerLimit {
            writer.key("Limit")
            writer.integer(layerLimit)
        }
        writer.endObject()
        return Digest(of: writer.bytes)
    }
}

extension SourceKeys {
    /// A commit of a repository, and how it is checked out.
    public struct Git: Hashable, Sendable {
        /// The commit's full hash; of an annotated tag that of the commit, or with the directory kept that of the tag.
        public var commit: String
        /// The resolved name, as in `refs/heads/main`.
        public var ref = ""
        /// Whether `.git` is kept.
        public var keepsDirectory = false
        /// The directory that is used.
        public var directory = ""
        /// Whether submodules are left out.
        public var skipsSubmodules = false
        /// The times of files: empty or `checkout` for the present, `commit` for the commit's.
        public var times = ""
        /// Whether the repository comes as a bundle.
        public var isBundle = false

        /// A commit that is checked out in the usual way.
        public init(commit: String) { self.commit = commit }
    }

    /// A commit of a repository.
    public init(git: Git) {
        var key = git.commit
        if git.keepsDirectory {
            key += ".git"
            if !git.ref.isEmpty { key += "#\(git.ref)" }
        }
        if !git.directory.isEmpty { key += ":\(git.directory)" }
        if git.skipsSubmodules { key += "(skip-submodules)" }
        if !git.times.isEmpty, !git.times.isExactly("checkout") { key += "(mtime=\(git.times))" }
        if git.isBundle { key += "(bundle)" }
        self.init(keys: [key])
    }

    /// A file of a web server.
    public struct HTTP: Hashable, Sendable {
        /// The digest of the body.
        public var checksum: Digest
        /// The name of the file: that of the attribute, else that of the response, else the URL's last element.
        public var filename: String
        /// The permissions, the owner and the group; 0 if not set.
        public var permissions: Int64 = 0, uid: Int64 = 0, gid: Int64 = 0
        /// The response's `Last-Modified`, as HTTP writes dates; empty if it has none.
        public var lastModified = ""
        /// The name of the secret with which the request is authorised.
        public var authorizationSecret = ""
        /// The values of the request's fields `Accept` and `User-Agent`; empty if not set.
        public var accept = "", userAgent = ""

        /// A file by its content.
        public init(checksum: Digest, filename: String) {
            self.checksum = checksum
            self.filename = filename
        }
    }

    /// A file of a web server.
    public init(http: HTTP) {
        var writer = JSONWriter()
        writer.beginObject()
        SourceKeys.write(http.filename, http.permissions, http.uid, http.gid, to: &writer)
        writer.key("Checksum")
        writer.digest(http.checksum)
        if !http.lastModified.isEmpty {
            writer.key("LastModTime")
            writer.string(http.lastModified)
        }
        if !http.authorizationSecret.isEmpty {
            writer.key("AuthHeaderSecret")
            writer.string(http.authorizationSecret)
        }
        let fields = [("Accept", http.accept), ("User-Agent", http.userAgent)].filter { !$0.1.isEmpty }
        if !fields.isEmpty {
            writer.key("Header")
            writer.beginArray()
            for (name, value) in fields {
                writer.beginObject()
                writer.key("Name")
                writer.string(name)
                writer.key("Value")
                writer.string(value)
                writer.endObject()
            }
            writer.endArray()
        }
        writer.endObject()
        self.init(keys: ["\(Digest(of: writer.bytes))"])
    }

    /// A blob of a registry or of an OCI layout, as one file.
    public init(
        blob digest: Digest, filename: String = "", permissions: Int64 = 0, uid: Int64 = 0, gid: Int64 = 0
    ) {
        var writer = JSONWriter()
        writer.beginObject()
        writer.key("Digest")
        writer.digest(digest)
        SourceKeys.write(filename, permissions, uid, gid, to: &writer)
        writer.endObject()
        self.init(keys: ["\(Digest(of: writer.bytes))"])
    }

    private static func write(
        _ filename: String, _ permissions: Int64, _ uid: Int64, _ gid: Int64, to writer: inout JSONWriter
    ) {
        writer.key("Filename")
        writer.string(filename)
        writer.key("Perm")
        writer.integer(permissions)
        writer.key("UID")
        writer.integer(uid)
        writer.key("GID")
        writer.integer(gid)
    }
}
