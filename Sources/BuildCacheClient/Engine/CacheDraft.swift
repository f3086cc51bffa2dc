public import BuildCacheBytes
public import BuildCacheCore
public import BuildCacheGraph
import BuildCacheOCI

/// An export whose layers are stored, and that no name leads to yet.
public struct CacheDraft: Sendable {
    /// The records and layers, as they are stored now; empty before they are.
    public internal(set) var graph: LayerGraph
    /// The form of the documents.
    public let form: CacheForm
    /// Limits for encoding a config, and for decoding those to merge with.
    public let limits: CacheConfigLimits
    /// Whether the cache under the name is kept and merged with: `WritePolicy.merge`.
    public let merges: Bool
    /// Whether a document that is not a cache may be replaced.
    public let replacesOtherContent: Bool

    /// The signatures of the export; `nil` if it is not signed.
    var signing: DraftSigning?
    /// The name that is being published.
    var name = ""

    package init(_ graph: LayerGraph = LayerGraph(), form: CacheForm, export: ExportOptions, limits: CacheConfigLimits)
    {
        self.graph = graph
        self.form = form
        self.limits = limits
        merges = export.writePolicy == .merge
        replacesOtherContent = export.replacesOtherContent
    }

    /// The documents of the export alone.
    ///
    /// - Throws: `CacheError` `.limitExceeded` for a config past ``limits``.
    public func documents() throws(CacheError) -> CacheDocuments {
        try CacheDocuments(graph, form: form, limits: limits)
    }

    /// The documents to write over the one that a name leads to.
    ///
    /// A document that is damaged has nothing to keep.
    ///
    /// - Parameters:
    ///   - current: The document under the name, `nil` if there is none.
    ///   - store: The source of a manifest's config.
    ///   - others: More documents to merge with.
    ///   - isCurrentNewer: Whether `current` is newer than the export: its results count then where both have one. Otherwise two writers with
    ///     different results for one record would replace each other's for ever.
    /// - Returns: `nil` if the draft merges and `current` holds all of it.
    /// - Throws: `CacheError` `.occupied` if `current` is not a cache and must not be replaced, `.limitExceeded`; what `store` throws.
    public func documents(
        over current: NamedDocument?, in store: some BlobSource, merging others: [NamedDocument] = [],
        isCurrentNewer: Bool = false
    ) async throws -> CacheDocuments? {
        if let current { try checkReplaceable(current) }
        guard merges else { return try documents() }
        var known: [LayerGraph] = []
        for other in others {
            if let graph = try await graph(of: other, in: store) { known.append(graph) }
        }
        let present: LayerGraph? = if let current { try await graph(of: current, in: store) } else { nil }
        return try documents(over: present, merging: known, isCurrentNewer: isCurrentNewer)
    }

    /// As ``documents(over:in:merging:isCurrentNewer:)``, of graphs that are known already.
    package func documents(
        over current: LayerGraph?, merging others: [LayerGraph] = [], isCurrentNewer: Bool = false
    ) throws -> CacheDocuments? {
        var wanted = graph
        for other in others { try wanted.merge(other, onlyMissingResults: true) }
        if let current {
            guard let merged = try isCurrentNewer ? current.adding(wanted) : wanted.merged(over: current) else {
                return nil
            }
            wanted = merged
        }
        return try CacheDocuments(wanted, form: form, limits: limits)
    }

    /// The graph of a cache in this form, or of those in the images that a manifest leads to; `nil` for one that is damaged.
    ///
    /// - Throws: `CacheError` `.limitExceeded`, and what the store throws.
    package func graph(of found: NamedDocument, in store: some BlobSource) async throws -> LayerGraph? {
        do {
            switch found.content {
            case .unreadable(let error):
                guard error.code == .limitExceeded else { return nil }
                throw error
            case .document(let document):
                // Before anything of it is parsed.
                if let signing, try await !signing.trusts(document, as: name) { return nil }
                switch form {
                case .config:
                    return try LayerGraph(decodingConfig: document.bytes, layers: .annotated, limits: limits)
                case .manifest:
                    return try await ImportedCache(
                        manifest: document.descriptor, from: RootedSource(root: document, rest: store), layers: store,
                        limits: limits
                    ).graph
                }
            }
        } catch let error as CacheError where error.code == .corrupted || error.code == .notFound {
            return nil
        }
    }

    /// Checks that a document may be replaced: it is a cache of this form, or has nothing to keep because it is damaged or empty.
    ///
    /// - Throws: `CacheError` `.occupied`.
    package func checkReplaceable(_ current: NamedDocument) throws(CacheError) {
        guard !replacesOtherContent else { return }
        switch current.content {
        case .unreadable(let error):
            if let archived = error.cause as? ArchivedBlob { throw .unreadable(current.name, archived) }
            switch error.code {
            case .unsupported: throw .occupied(current.name)
            case .corrupted, .notFound: return
            default: throw error
            }
        case .document(let document):
            switch form {
            case .config: try CacheDocuments.checkReplaceable(config: document.bytes, current.name)
            case .manifest: try CacheDocuments.checkReplaceable(document.bytes, current.name)
            }
        }
    }
}

/// A document that was read already, and the blobs that it leads to.
package struct RootedSource<Rest: BlobSource>: BlobSource {
    private let root: RawDocument
    private let rest: Rest

    package init(root: RawDocument, rest: Rest) {
        self.root = root
        self.rest = rest
    }

    package func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        descriptor.digest == root.digest
            ? try await DocumentSource(root).open(descriptor, range: range)
            : try await rest.open(descriptor, range: range)
    }
}
