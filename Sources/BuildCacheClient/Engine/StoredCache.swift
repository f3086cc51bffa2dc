public import BuildCacheBytes
public import BuildCacheCore
public import BuildCacheGraph
import BuildCacheOCI
public import BuildCacheSigning
import Synchronization

/// A backend that is a store: exports and imports over a ``CacheStore`` are the same for all of them.
///
/// A conforming type opens its store; ``exportCache(_:from:progress:)``, ``importCache(progress:)`` and, for a store that is a
/// ``PrunableStore``, ``openForPruning(isReadOnly:)`` are here.
public protocol StoredCache<Store>: CacheBackend, SigningExporter, VerifyingImporter {
    associatedtype Store: CacheStore

    /// The options of an export.
    var export: ExportOptions { get }
    /// The store in which layers are converted.
    var scratch: ScratchStore { get }
    /// Limits for a cache config, read or written.
    var limits: CacheConfigLimits { get }

    /// Opens the store for one operation.
    ///
    /// - Throws: `CacheError` if it cannot be used for that.
    func openStore(for use: StoreUse) async throws -> Store
}

extension StoredCache where Store: PrunableStore {
    /// Opens the store; see ``PrunableBackend/openForPruning(isReadOnly:)``.
    public func openForPruning(isReadOnly: Bool) async throws -> any PrunableStore {
        try await openStore(for: .prune(isReadOnly: isReadOnly))
    }
}

// MARK: Exporting

extension StoredCache {
    /// Stores the layers of the selection, then the documents, then lets the names lead to them.
    ///
    /// See ``CacheExporter/exportCache(_:from:progress:)``.
    public func exportCache(
        _ graph: LayerGraph, from source: LayerSource, progress: ProgressSink
    ) async throws -> ExportReceipt {
        try await exportCache(graph, from: source, trust: CacheTrust(), progress: progress)
    }

    /// As ``exportCache(_:from:progress:)``, signed; see ``SigningExporter/exportCache(_:from:trust:progress:)``.
    public func exportCache(
        _ graph: LayerGraph, from source: LayerSource, trust: CacheTrust, progress: ProgressSink
    ) async throws -> ExportReceipt {
        try await running(.export, at: traits.name, side: .destination, progress: progress) {
            try trust.verification.validate()
            let store = try await openStore(for: .export)
            defer { store.close() }
            store.chooseForm(signing: trust.signing, trust.verification)
            return try await export(graph, from: source.blamed, to: store, trust, progress)
        }
    }

    private func export(
        _ graph: LayerGraph, from source: LayerSource, to store: Store, _ trust: CacheTrust, _ progress: ProgressSink
    ) async throws -> ExportReceipt {
        var draft = CacheDraft(form: store.form, export: export, limits: limits)
        let signing = trust.isOff ? nil : DraftSigning(trust, try store.keepingSignatures())
        draft.signing = signing
        // Asked before layers are converted, so that an export that would be refused fails at once.
        for name in store.cacheNames { try await store.checkReplaceable(name, by: draft) }

        let selected = graph.selected(export.mode)
        let present = try await presence(of: selected.unconverted(export.compression), in: store)
        let sent = SentLayers()
        let layers = try await LayerExport(
            selected, pendingTimes: graph.pendingTimes, from: source, compression: export.compression, scratch: scratch,
            requiresDiffIDs: store.form == .config, limit: traits.transfersInFlight, progress: progress
        ) { layer, blobs in
            let outcome: PutOutcome
            switch present[layer.digest] {
            case .kept(let kept): outcome = kept
            case .found(let presence): outcome = try await store.put(layer, from: blobs, presence: presence)
            case nil: outcome = try await store.put(layer, from: blobs, presence: nil)
            }
            if outcome != .alreadyPresent { sent.add(layer, blobs) }
            return outcome
        }
        var receipt = layers.receipt
        var problems = NoticedProblems(store)
        problems.report(to: &receipt, progress)
        guard layers.hasLayers else { return receipt }

        try await restoreLost(sent, in: store)
        draft.graph = layers.graph
        for name in store.cacheNames {
            // The last moment to leave the cache as it was: with nothing to send, cancellation may not have been looked at before.
            try Task.checkCancellation()
            draft.name = name
            let published = try await store.publish(draft, as: name)
            // A name that led to all of the export already, or a store that leaves signing to the engine.
            if let signing { try await sign(published.root, as: name, in: store, signing) }
            receipt.transfers.merge(published.transfers) { _, new in new }
            for problem in published.problems + (signing?.takeProblems() ?? []) { receipt.add(problem, progress) }
            receipt.published[published.name] = published.root
            progress(.published(name: published.name, published.root.digest))
        }
        problems.report(to: &receipt, progress)
        return receipt
    }

    /// Signs a document that a name leads to, unless that was done before the name was published.
    private func sign(
        _ root: Descriptor, as name: String, in store: Store, _ signing: DraftSigning
    ) async throws {
        guard !signing.hasSigned(root.digest), signing.trust.signing != nil,
            let found = try await store.document(named: name, limit: limits.documentBytes),
            let document = found.document, document.digest == root.digest
        else { return }
        try await signing.sign(document, over: found, as: name)
    }

    /// The state of the layers that go as they are, of which stale ones are refreshed.
    ///
    /// Asked for all at once, because each answer takes a while. A layer that may be converted is looked for when its new digest is known.
    private func presence(of layers: [Descriptor], in store: Store) async throws -> [Digest: KnownLayer] {
        let found = try await store.presence(of: layers)
        let states = try await layers.mapConcurrently(limit: traits.transfersInFlight) {
            layer -> (Digest, KnownLayer) in
            switch found[layer.digest] {
            case .current: return (layer.digest, .kept(.alreadyPresent))
            case .stale:
                let outcome = try await store.refresh(layer)
                return (layer.digest, outcome.map { .kept($0) } ?? .found(.absent))
            case let presence: return (layer.digest, .found(presence ?? .absent))
            }
        }
        return Dictionary(states) { first, _ in first }
    }

    /// Stores the layers again that the store lost after it had taken them.
    private func restoreLost(_ sent: SentLayers, in store: Store) async throws {
        let layers = sent.layers
        guard !layers.isEmpty else { return }
        let lost = try await store.lostLayers(among: layers.values.map(\.layer))
        _ = try await lost.mapConcurrently(limit: traits.transfersInFlight) { layer in
            guard let source = layers[layer.digest]?.source else { return }
            _ = try await store.put(layer, from: source, presence: .damaged)
        }
    }
}

/// The documents that are read at once.
private let readsInFlight = 16

extension LayerSource {
    /// The same layers; their errors say that the source is to blame.
    fileprivate var blamed: LayerSource { LayerSource(blobs: BlamedSource(base: blobs), images: images) }
}

private struct BlamedSource: BlobSource {
    let base: any BlobSource

    func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        do {
            return try await base.open(descriptor, range: range).mappingErrors { $0.blamingSource }
        } catch {
            throw error.blamingSource
        }
    }
}

/// The knowledge about a layer before it is stored.
private enum KnownLayer: Sendable {
    /// Nothing has to be done.
    case kept(PutOutcome)
    /// It must be stored.
    case found(LayerPresence)
}

/// The layers that an export stored or refreshed.
private final class SentLayers: Sendable {
    private let sent = Mutex<[Digest: (layer: Descriptor, source: any BlobSource)]>([:])

    var layers: [Digest: (layer: Descriptor, source: any BlobSource)] { sent.withLock { $0 } }

    func add(_ layer: Descriptor, _ source: any BlobSource) {
        sent.withLock { $0[layer.digest] = (layer, source) }
    }
}

/// The problems of a store, each reported once.
private struct NoticedProblems<Store: CacheStore> {
    private let store: Store
    private var count = 0

    init(_ store: Store) { self.store = store }

    mutating func report(to receipt: inout ExportReceipt, _ progress: ProgressSink) {
        let problems = store.problems
        for problem in problems.dropFirst(count) { receipt.add(problem, progress) }
        count = problems.count
    }
}

extension LayerGraph {
    /// The layers of a selection that are stored as they are.
    fileprivate func unconverted(_ wanted: CompressionOptions) -> [Descriptor] {
        descriptors.values.filter {
            !wanted.force || (wanted.type != .estargz && $0.mediaType.layer?.compression == wanted.type)
        }
    }
}

// MARK: Importing

extension StoredCache {
    /// Reads the caches under all names, and leaves out results with a layer that the store does not have.
    ///
    /// See ``CacheImporter/importCache(progress:)``. Of several names, one that cannot be read is left out with a problem.
    public func importCache(progress: ProgressSink) async throws -> ImportedCache? {
        try await importCache(verification: .off, progress: progress)
    }

    /// As ``importCache(progress:)``, by a policy; see ``VerifyingImporter/importCache(verification:progress:)``.
    public func importCache(
        verification: VerificationPolicy, progress: ProgressSink
    ) async throws -> ImportedCache? {
        try await running(.import, at: traits.name, side: .source, progress: progress) {
            try verification.validate()
            let store = try await openStore(for: .import)
            store.chooseForm(verification)
            do {
                let cache = try await imported(from: store, verification)
                for problem in cache?.problems ?? store.problems { progress(.problem(problem)) }
                guard var cache else {
                    store.close()
                    return nil
                }
                cache.onClose = { store.close() }
                return cache
            } catch {
                store.close()
                throw error
            }
        }
    }

    private func imported(from store: Store, _ policy: VerificationPolicy) async throws -> ImportedCache? {
        let limit = limits.documentBytes
        let found = try await store.cacheNames.mapConcurrently(limit: readsInFlight) { name in
            try await store.document(named: name, limit: limit).map { (name: name, document: $0) }
        }.compactMap { $0 }
        // An object without bytes is the placeholder of a folder.
        let documents = found.filter { $0.document.document?.bytes.isEmpty != true }
        guard !documents.isEmpty else { return nil }
        let verified = try await VerifiedDocuments(documents, in: store, by: policy)
        guard !verified.documents.isEmpty else {
            return try ImportedCache(parts: [], blobs: store.layers, problems: verified.problems + store.problems)
        }
        var cache = try await ImportedCache(verified.documents, in: store, limits: limits)
        try await verified.remember()
        cache.signatures = verified.signatures
        try await cache.removeMissing { try await store.presence(of: $0) }
        cache.problems += verified.problems + store.problems
        return cache
    }
}
