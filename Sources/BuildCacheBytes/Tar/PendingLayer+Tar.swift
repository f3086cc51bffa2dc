public import BuildCacheCore

extension PendingLayer {
    /// Creates a layer whose tar is made when an export asks for it.
    ///
    /// - Parameters:
    ///   - name: A label for messages and progress; layers of one name are different layers all the same.
    ///   - tar: Opens the uncompressed tar, each time afresh and with the same bytes: an export may ask more than once, and one that comes
    ///     later gets what the step made, not what has become of it since. For a file use ``init(name:tarAt:)``, which checks that.
    public init(name: String = "layer", tar: @escaping @Sendable () async throws -> BlobStream) {
        self.init(name: name, recipe: TarRecipe(open: tar))
    }

    /// Creates a layer of a tar file, which must stay as it is until it was exported.
    ///
    /// A file that was written again or replaced by then is noticed, and the result left out: the tar would be that of another step.
    ///
    /// - Parameters:
    ///   - name: A label for messages and progress; `nil` for the path.
    ///   - path: The uncompressed tar.
    /// - Throws: `CacheError` `.notFound`, `.denied`, `.unavailable`; `.corrupted` for what is not a regular file.
    public init(name: String? = nil, tarAt path: String) throws(CacheError) {
        let version = try OpenFile(reading: path).version
        self.init(name: name ?? path) { try await BlobStream.file(at: path, version: version) }
    }

    /// Opens the tar.
    ///
    /// - Throws: What the recipe throws; `CacheError` `.unsupported` for a layer that this module did not make.
    package func openTar() async throws -> BlobStream {
        guard let recipe = recipe as? TarRecipe else {
            throw CacheError(.unsupported, "no tar was provided for the pending layer \(name.quoted)")
        }
        return try await recipe.open()
    }
}

private struct TarRecipe: PendingLayerRecipe {
    let open: @Sendable () async throws -> BlobStream
}
