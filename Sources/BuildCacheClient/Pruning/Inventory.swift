import BuildCacheCore

extension PrunableBackend {
    /// All names in the store that this backend shares with caches of other names, newest first; changes nothing.
    ///
    /// Names that are not caches, such as images, are among them, with ``StoredName/isCache`` `false`; a name whose documents cannot be
    /// read has a ``StoredName/problem``.
    ///
    /// - Parameter progress: The number of names as they are listed, and pauses.
    /// - Throws: As ``openForPruning(isReadOnly:)``, and what the store throws.
    public func caches(progress: ProgressSink = .discarded) async throws -> [StoredName] {
        try await running(.list, at: traits.name, progress: progress) {
            let store = try await openForPruning(isReadOnly: true)
            defer { store.close() }
            let names = try await store.names()
            progress(.listedNames(names.count))
            return names.newestFirst(at: .now())
        }
    }
}

extension StoredName {
    /// The number of layers; `nil` if they are not known.
    public var layerCount: Int? { layerSizes?.count }

    /// Stored bytes of the layers; `nil` if they are not known.
    ///
    /// Caches share layers, so the sum over several caches may be more than is stored.
    public var bytesOfLayers: Int64? { layerSizes?.saturatingSum() }

    /// Bytes of all documents: those that go with the name, and those that are blobs.
    public var bytesOfDocuments: Int64 {
        documentBytes.saturatingAdding(documentBlobs.compactMap { blobs?[$0] }.saturatingSum())
    }

    private var layerSizes: [Int64]? {
        blobs.map { blobs in blobs.filter { !documentBlobs.contains($0.key) }.map(\.value) }
    }
}

extension [StoredName] {
    /// Sorted by the time of the last write, equally new ones by name; an unknown time counts as `now`.
    func newestFirst(at now: Timestamp) -> [StoredName] {
        sorted { left, right in
            let (newer, older) = (left.modifiedAt ?? now, right.modifiedAt ?? now)
            return newer == older ? left.name < right.name : newer > older
        }
    }
}
