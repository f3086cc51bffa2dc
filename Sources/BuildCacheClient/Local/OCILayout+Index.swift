import BuildCacheBytes
package import BuildCacheCore
package import BuildCacheOCI

/// How an import names the manifest it wants.
package enum ManifestSelector: Hashable, Sendable {
    case tag(String)
    /// Wins over a tag where both are given.
    case digest(Digest)
}

/// What a tag must be for a change of it to happen.
package enum TagState: Hashable, Sendable {
    case any
    /// It names this manifest; `nil` for none.
    case naming(Digest?)
}

/// Another writer moved a tag meanwhile.
package struct TagMoved: Error {}

extension OCILayout {
    /// Larger indexes are refused.
    static let maximumIndexSize = Document.defaultLimit

    // MARK: Reading

    /// The manifest that `selector` names, `nil` when it, `index.json` or the whole directory is not there.
    ///
    /// A digest need not stand in the index: the blob is enough. Its media type is empty then; readers go by the content.
    ///
    /// - Throws: `CacheError` `.corrupted`, `.limitExceeded`, `.denied`, `.unavailable`.
    package func manifest(_ selector: ManifestSelector = .tag("latest")) async throws -> Descriptor? {
        switch selector {
        case .tag(let tag):
            return try await index()?.entry(tag: tag)?.descriptor()
        case .digest(let digest):
            guard let blob = try await stat(digest) else { return nil }
            let known = try? await index()?.entries.lazy.compactMap { try? $0.descriptor() }.first {
                $0.digest == digest
            }
            var descriptor = known ?? Descriptor(mediaType: "", digest: digest, size: blob.size)
            descriptor.size = blob.size
            return descriptor
        }
    }

    /// The index, `nil` when there is none.
    ///
    /// Needs no lock, as our writers replace the file whole; so it works in read-only directories. BuildKit writes in place,
    /// though: while its lock file is there and locked, or what we read is no JSON, we wait up to a second for it to finish.
    /// The lock is only tried, never kept, because a BuildKit that finds it taken gives its export up.
    ///
    /// - Throws: `CacheError` `.corrupted`; `.limitExceeded` beyond 64 MiB.
    package func index() async throws -> OCILayoutIndex? {
        let settled = try await retrying(for: min(lockTimeout, .seconds(1))) { () -> OCILayoutIndex?? in
            guard let root = try openRoot() else { return .some(nil) }
            let isBeingWritten = IndexLock.isHeld(in: root)
            guard let bytes = try readDocument(Name.index, in: root) else { return .some(nil) }
            guard !isBeingWritten, let index = try? OCILayoutIndex(decoding: bytes) else { return nil }
            return .some(index)
        }
        if let settled { return settled }
        return try await Blocking.run {
            guard let root = try openRoot(), let bytes = try readDocument(Name.index, in: root) else { return nil }
            do throws(CacheError) { return try OCILayoutIndex(decoding: bytes) } catch {
                var error = error.adding(backend: "local", subject: "\(path)/\(Name.index)")
                error.message += "; the next export replaces the file and keeps a copy beside it"
                throw error
            }
        }
    }

    /// The bytes of a document in `root`, `nil` when it is not there.
    private func readDocument(_ name: String, in root: OpenFile) throws -> [UInt8]? {
        guard let file = try ifPresent({ () throws(FileError) in try root.open(name, .read) }) else { return nil }
        let status = try file.status()
        let context = CacheError.Context(backend: "local", subject: "\(path)/\(name)")
        guard status.kind == .regular else {
            throw CacheError(.corrupted, "this is not a regular file; remove it", context: context)
        }
        guard status.size <= Int64(OCILayout.maximumIndexSize) else {
            throw CacheError(.limitExceeded, "the file has \(status.size) bytes, more than 64 MiB", context: context)
        }
        // One byte more, to notice a file that grows meanwhile: what we have of it is then half of something.
        let size = Int(status.size)
        return try [UInt8](unsafeUninitializedCapacity: size + 1) { buffer, count in
            count = try file.read(into: UnsafeMutableRawBufferPointer(buffer), at: 0)
        }
    }

    // MARK: Writing

    /// Lets `tag` name a manifest that has been put; all other tags stay.
    ///
    /// Atomic: readers and a killed process see the index before or after, never between. Writers in this process and in others
    /// take turns; the later one wins its tag whole.
    ///
    /// An `index.json` that is no JSON was left by somebody who was killed while writing in place, as BuildKit does. Failing on
    /// it would fail every export from now on, so it is copied to `index.json.corrupt-<digest>` first and replaced then; an
    /// empty one holds nothing and is just replaced. A caller who wants to ``sweep(olderThan:keeping:)`` should not do so in
    /// that export, because the blobs of the tags that were in there look unused.
    ///
    /// - Parameter state: What the tag must name now; else it stays.
    /// - Returns: The name of the file an unreadable index was copied to, `nil` normally.
    /// - Throws: ``TagMoved`` if the tag is not in that state; `CacheError` `.busy` when others kept the lock; `.notFound` when the manifest has not been put; `.unsupported`
    ///   when the file system knows no locks; `.storageFull`, `.denied`, `.corrupted`, `.limitExceeded`, `.unavailable`.
    @discardableResult
    package func setTag(
        _ tag: String, to descriptor: Descriptor, if state: TagState = .any
    ) async throws -> String? {
        let copy = try await retrying { try setTagNow(tag, to: descriptor, if: state) }
        guard let copy else { throw busy("another export is changing the tags", in: Name.lock) }
        return copy
    }

    /// As ``setTag(_:to:if:)``, but `nil` if the lock is not to be had.
    private func setTagNow(_ tag: String, to descriptor: Descriptor, if state: TagState) throws -> String?? {
        let root = try makeRoot()
        guard let lock = try IndexLock(in: root) else { return nil }
        defer { lock.release() }

        // Names of blobs are made durable once per export rather than once per blob.
        let blobs = try root.openOrMakeDirectory(Name.blobs).openOrMakeDirectory(Name.sha256)
        guard let manifest = try blobs.status(of: descriptor.digest.hex), manifest.size == descriptor.size else {
            throw CacheError(
                .notFound, "the manifest is not in the layout, \"\(tag)\" cannot name it",
                context: .init(backend: "local", subject: descriptor.digest.description))
        }
        try blobs.syncDirectory()

        if try readDocument(Name.layout, in: root) != OCILayoutIndex.layoutFile {
            try replace(Name.layout, in: root, with: OCILayoutIndex.layoutFile)
        }
        let bytes = try readDocument(Name.index, in: root) ?? []
        var index = OCILayoutIndex()
        var copy: String?
        if !bytes.isEmpty {
            do throws(CacheError) {
                index = try OCILayoutIndex(decoding: bytes)
            } catch {
                let name = "\(Name.index).corrupt-\(Digest(of: bytes).hex.prefix(16))"
                try replace(name, in: root, with: bytes)
                copy = name
            }
        }
        // The holder before us may have removed the file between our opening and our locking it, and BuildKit removes it after
        // it has let go of the lock, which may be ours by then. A third writer would make and lock a new file, so what we
        // read may be old: start over.
        guard try lock.isCurrent else { return nil }
        // An entry that cannot be read names nothing.
        if case .naming(let digest) = state, (try? index.entry(tag: tag)?.descriptor().digest) != digest {
            throw TagMoved()
        }
        // A tag is as old as its manifest's file, unless its entry says otherwise: tags that share the manifest keep their age.
        index.noteAge(manifest.modifiedAt, ofEntriesNaming: descriptor.digest)
        try blobs.refresh(descriptor.digest.hex)
        index.put(descriptor, tag: tag)
        try replace(Name.index, in: root, with: index.encode())
        try root.syncDirectory()
        return .some(copy)
    }

    /// Removes the entries of a tag, if they still name these documents, and says whether none is left.
    ///
    /// - Parameter documents: One for each entry, `nil` for an entry that cannot be read.
    /// Atomic, and in turns with other writers, as ``setTag(_:to:)``.
    ///
    /// - Throws: `CacheError` `.busy`, `.corrupted` for an index that is no JSON, `.storageFull`, `.denied`, `.unavailable`.
    func removeTag(_ tag: String, naming documents: [Digest?]) async throws -> Bool {
        let isGone = try await retrying { () -> Bool? in
            guard let root = try openRoot() else { return true }
            guard let lock = try IndexLock(in: root) else { return nil }
            defer { lock.release() }
            guard let bytes = try readDocument(Name.index, in: root) else { return true }
            var index = try OCILayoutIndex(decoding: bytes)
            // As in `setTagNow`: what was read may be old.
            guard try lock.isCurrent else { return nil }
            let found = index.entries(cacheTag: tag)
            guard !found.isEmpty else { return true }
            guard found.map({ try? $0.descriptor().digest }) == documents else { return false }
            index.remove(tag: tag)
            try replace(Name.index, in: root, with: index.encode())
            try root.syncDirectory()
            return true
        }
        guard let isGone else { throw busy("an export is changing the tags", in: Name.lock) }
        return isGone
    }

    /// Replaces a document whole, with the permissions it had.
    private func replace(_ name: String, in root: OpenFile, with bytes: [UInt8]) throws {
        let ingest = try Ingest(in: root.openOrMakeDirectory(Name.ingest))
        do {
            try ingest.write(bytes)
            let permissions = try root.status(of: name)?.permissions ?? ingest.permissions()
            try ingest.publish(as: name, in: root, permissions: permissions)
        } catch {
            ingest.discard()
            throw error
        }
    }
}

/// The right to change `index.json`, by BuildKit's rules: `index.json.lock` is locked while it is held and removed afterwards.
///
/// - Source: BuildKit `client/ociindex/ociindex.go`.
private struct IndexLock {
    private let root: OpenFile
    private let file: OpenFile

    /// `nil` when another writer has it.
    init?(in root: OpenFile) throws {
        let file = try root.open(OCILayout.Name.lock, .lock)
        switch try file.tryLock(exclusive: true) {
        case .taken: break
        case .held: return nil
        case .unsupported:
            throw CacheError(
                .unsupported, "the file system of \(file.path) does not support locks; use a directory on another one",
                context: .init(backend: "local", subject: file.path))
        }
        self.root = root
        self.file = file
    }

    /// Whether the file we locked still is the one others would lock; ask before relying on what was read under it.
    var isCurrent: Bool {
        get throws(FileError) { try root.status(of: OCILayout.Name.lock)?.identity == file.status().identity }
    }

    /// Removes the file, still locked, and with the last reference to it goes the lock.
    func release() {
        if (try? isCurrent) == true { try? root.remove(OCILayout.Name.lock) }
    }

    /// Whether a writer is changing the index; a lock that cannot be looked at does not keep us from reading.
    static func isHeld(in root: OpenFile) -> Bool {
        guard let file = try? root.open(OCILayout.Name.lock, .read) else { return false }
        return (try? file.tryLock(exclusive: false)) == .held
    }
}
