public import BuildCacheCore

extension ContentTree {
    /// The tree of an operation that makes files and directories on nothing, such as a document of a Dockerfile or a working directory on
    /// `scratch`; `nil` for any other operation.
    ///
    /// Caches hold no results of such operations, so a tool must make their trees itself.
    ///
    /// - Throws: `CacheError` `.corrupted` for a file below a file.
    /// - Source: `Documentation/Spec/cache-keys.md` §1, 7.
    public init?(madeBy op: LLB.Op) throws(CacheError) {
        guard case .file(let file) = op.kind, op.inputs.isEmpty else { return nil }
        var builder = ContentTreeBuilder()
        for (index, action) in file.actions.enumerated() {
            // One chain on nothing: each action goes on with what the one before made.
            guard action.input == Int64(index) - 1, action.secondaryInput == -1 else { return nil }
            var metadata = FileMetadata()
            let (path, owner): (String, LLB.Owner?)
            var data: [UInt8] = []
            switch action.change {
            case .makeFile(let made):
                (path, owner, data) = (made.path, made.owner, made.data)
                metadata.permissions = UInt32(truncatingIfNeeded: made.mode)
            case .makeDirectory(let made):
                (path, owner) = (made.path, made.owner)
                metadata.kind = .directory
                metadata.permissions = UInt32(truncatingIfNeeded: made.mode)
            case .symlink(let made):
                (path, owner) = (made.path, made.owner)
                metadata.kind = .symlink(Array(made.target.utf8))
            default: return nil
            }
            // A name is looked up in a file that is not there.
            guard owner?.user?.name == nil, owner?.group?.name == nil else { return nil }
            metadata.uid = owner?.user?.id ?? 0
            metadata.gid = owner?.group?.id ?? 0
            try builder.add(Array(path.utf8), metadata, data: data)
        }
        self = builder.finish()
    }
}
