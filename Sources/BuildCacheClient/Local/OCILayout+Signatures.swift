import BuildCacheBytes
import BuildCacheCore
import BuildCacheSigning

extension OCILayout {
    /// The signature file of a document, `nil` if the document has none.
    func signatureFile(of document: Digest) async throws -> StoredSignatureFile? {
        try await Blocking.run { try readSignatureFile(of: document) }
    }

    private func readSignatureFile(of document: Digest) throws -> StoredSignatureFile? {
        let found = try openSignatures().flatMap { directory in
            try ifPresent { () throws(FileError) in try directory.open(document.hex, .read) }
        }
        guard let file = found else { return nil }
        let status = try file.status()
        guard status.kind == .regular else {
            throw CacheError(
                .corrupted, "the signature file is not a regular file; remove it",
                context: .init(backend: "local", subject: document.description))
        }
        // One byte past the limit shows that the file is too large.
        let size = Int(min(status.size, Int64(SignatureBundle.maximumBytes))) + 1
        let bytes = try [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
            count = try file.read(into: UnsafeMutableRawBufferPointer(buffer), at: 0)
        }
        return StoredSignatureFile(bytes: bytes, version: Digest(of: bytes).description)
    }

    /// Replaces the signature file of a document if it still is the one that was read.
    ///
    /// The file appears whole or not at all. Writers take turns by a lock on the directory.
    func replaceSignatureFile(
        _ current: StoredSignatureFile?, of document: Digest, with bytes: [UInt8]
    ) async throws -> Bool {
        let isDone = try await retrying { () -> Bool? in
            let root = try makeRoot()
            let directory = try root.openOrMakeDirectory(Name.signatures).openOrMakeDirectory(Name.sha256)
            guard try directory.tryLock(exclusive: true) != .held else { return nil }
            return try withExtendedLifetime(directory) {
                guard try readSignatureFile(of: document)?.version == current?.version else { return false }
                let ingest = try Ingest(in: root.openOrMakeDirectory(Name.ingest))
                do {
                    try ingest.write(bytes)
                    try ingest.publish(as: document.hex, in: directory, permissions: ingest.permissions() & 0o444)
                } catch {
                    ingest.discard()
                    throw error
                }
                // Readers must not see a name without its signature after a power cut.
                try directory.syncDirectory()
                return true
            }
        }
        guard let isDone else { throw busy("another export is signing", in: Name.signatures) }
        return isDone
    }

    /// All signature files; other files are left alone.
    func signatureFiles() throws -> [(Digest, BlobStat)] {
        guard let directory = try openSignatures() else { return [] }
        return try directory.list().compactMap { name in
            guard let digest = try? Digest("sha256:" + name), let status = try directory.status(of: name),
                status.kind != .directory
            else { return nil }
            return (digest, BlobStat(size: status.size, modifiedAt: status.modifiedAt))
        }
    }

    /// Removes a signature file, under the lock of a sweep, if it is as it was listed; says whether it is gone.
    func removeSignatureFile(of document: Digest, unlessOtherThan listed: BlobStat) throws -> Bool {
        guard let directory = try openSignatures(), let status = try directory.status(of: document.hex) else {
            return true
        }
        guard BlobStat(size: status.size, modifiedAt: status.modifiedAt) == listed else { return false }
        try directory.remove(document.hex)
        return true
    }

    private func openSignatures() throws -> OpenFile? {
        try openRoot().flatMap { root in
            try ifPresent { () throws(FileError) in
                try root.open(Name.signatures, .directory).open(Name.sha256, .directory)
            }
        }
    }
}

extension LocalStore: SignatureFileStore {
    func signaturePlace(of name: String) -> String { "local:" + name }

    func signatureFile(of document: Digest) async throws -> StoredSignatureFile? {
        try await layout.signatureFile(of: document)
    }

    func replaceSignatureFile(
        _ current: StoredSignatureFile?, of document: Digest, with bytes: [UInt8]
    ) async throws -> Bool {
        try await layout.replaceSignatureFile(current, of: document, with: bytes)
    }
}
