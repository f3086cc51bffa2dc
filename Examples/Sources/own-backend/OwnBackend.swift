// A backend of your own, with manifests, merging and pruning, and the proof that it keeps every promise that the library's backends keep.
//
//     swift run own-backend
import BuildCacheClient
import BuildCacheTesting
import Synchronization

/// Rows of bytes under keys; a real backend has files, objects or a database instead.
final class Table<Key: Hashable & Sendable>: Sendable {
    struct Row: Sendable {
        var bytes: [UInt8]
        var version = UInt64.random(in: .min ... .max)
        var writtenAt = Timestamp.now()
    }
    private let rows = Mutex<[Key: Row]>([:])

    var all: [Key: Row] { rows.withLock { $0 } }

    /// Replaces a row, or removes it, if it still has this version; `nil` is that of a row that does not exist.
    func swap(_ key: Key, from version: UInt64?, to row: Row?) -> Bool {
        rows.withLock { rows in
            guard rows[key]?.version == version else { return false }
            rows[key] = row
            return true
        }
    }
}

struct TableCache: StoredCache, PrunableBackend {
    let store: TableStore
    let export: ExportOptions
    let scratch: ScratchStore
    let limits = CacheConfigLimits()
    let traits = BackendTraits(name: "table", transfersInFlight: 4)

    func openStore(for use: StoreUse) async throws -> TableStore { store }
}

struct TableStore: SwappingStore, PrunableStore {
    let blobTable: Table<Digest>
    let nameTable: Table<String>
    let cacheNames: [String]
    var form: CacheForm { .manifest(.imageManifest) }
    var renewalAge: Duration { .seconds(86_400) }

    // Layers, and the configs of manifests.

    func stat(_ digest: Digest) async throws -> BlobStat? {
        blobTable.all[digest].map { BlobStat(size: Int64($0.bytes.count), modifiedAt: $0.writtenAt) }
    }
    func put(_ layer: Descriptor, from source: any BlobSource) async throws -> PutOutcome {
        let row = Table<Digest>.Row(bytes: try await source.bytes(of: layer, limit: 1 << 30))
        return blobTable.swap(layer.digest, from: nil, to: row) ? .written : .alreadyPresent
    }
    func open(_ layer: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        if let row = blobTable.all[layer.digest] { return BlobStream(row.bytes, range: range) }
        throw CacheError(.notFound, "the table has no such blob", context: .init(subject: "\(layer.digest)"))
    }
    func refresh(_ layer: Descriptor) async throws -> PutOutcome? {
        guard let row = blobTable.all[layer.digest] else { return nil }
        return blobTable.swap(layer.digest, from: row.version, to: .init(bytes: row.bytes)) ? .refreshed : nil
    }

    // Names, replaced by compare-and-swap.

    func document(named name: String, limit: Int) async throws -> NamedDocument? {
        nameTable.all[name].map { row in
            let manifest = RawDocument(mediaType: .ociManifest, bytes: row.bytes)
            return NamedDocument(name: name, content: .document(manifest), version: "\(row.version)")
        }
    }
    func replace(
        _ current: NamedDocument?, named name: String, with documents: CacheDocuments
    ) async throws -> Publication? {
        try await put(documents.config)
        let version = current?.version.flatMap { UInt64($0) }
        guard nameTable.swap(name, from: version, to: .init(bytes: documents.root.bytes)) else { return nil }
        return Publication(name: name, root: documents.root.descriptor)
    }

    // Pruning.

    func names() async throws -> [StoredName] {
        nameTable.all.map { name, row in
            StoredName(name, version: "\(row.version)", modifiedAt: row.writtenAt, manifest: row.bytes)
        }
    }
    func blobs() async throws -> StoredBlobs {
        .listed(
            blobTable.all.map { digest, row in
                StoredBlob(
                    digest: digest, size: Int64(row.bytes.count), modifiedAt: row.writtenAt, version: "\(row.version)")
            })
    }
    func remove(_ name: StoredName) async throws -> Bool {
        nameTable.swap(name.name, from: UInt64(name.version), to: nil)
    }
    func remove(_ blob: StoredBlob) async throws -> Bool {
        guard let digest = blob.digest else { return false }
        return blobTable.swap(digest, from: blob.version.flatMap { UInt64($0) }, to: nil)
    }
}

@main
struct OwnBackend {
    static func main() async throws {
        try await ScratchStore.withTemporary { scratch in
            for check in BackendConformance.checks + BackendConformance.mergeChecks + BackendConformance.pruneChecks {
                let (blobs, names) = (Table<Digest>(), Table<String>())
                try await check.run(
                    BackendConformance {
                        let store = TableStore(blobTable: blobs, nameTable: names, cacheNames: [$0.cache])
                        return TableCache(store: store, export: $0.export, scratch: scratch)
                    })
                print("ok  \(check.name)")
            }
        }
    }
}
