import BuildCacheCore
import BuildCacheGraph
import BuildCacheOCI

/// A cache as a verification reads it: its layers, and the damage of its documents.
struct CacheContents: Sendable {
    let name: String
    private(set) var layers: Set<Verification.Claim> = []
    private(set) var damaged: [VerificationReport.Damage] = []
    private(set) var problems: [CacheProblem] = []

    /// Reads the cache that a document is or leads to.
    ///
    /// - Throws: Errors that concern the store and not the cache; `CancellationError`.
    init(_ found: NamedDocument, in store: any CacheStore, limits: CacheConfigLimits) async throws {
        name = found.name
        do {
            let (parts, problems) = try await ImportedCache.parts(of: found, in: store, limits: limits)
            for part in parts { add(part.graph) }
            for problem in problems { add(problem) }
        } catch let error as CacheError where ImportedCache.concernsOne(error) || error.cause is ArchivedBlob {
            add(error)
        }
    }

    /// Takes a cache that was imported already, without the results that the import left out.
    init(_ cache: ImportedCache, named name: String) {
        self.name = name
        for problem in cache.problems { add(problem) }
        // The graph still describes layers that the import found missing.
        let lost = Set(damaged.compactMap(\.digest))
        for layer in cache.graph.descriptors.values where !lost.contains(layer.digest) {
            layers.insert(Verification.Claim(layer))
        }
    }

    /// A cache that cannot be read.
    init(_ name: String, unreadable message: String) {
        self.name = name
        add(nil, .unreadable, message)
    }

    private mutating func add(_ graph: LayerGraph) {
        for layer in graph.descriptors.values { layers.insert(Verification.Claim(layer)) }
    }

    /// The damage that an error of a document means.
    mutating func add(_ error: CacheError) {
        let digest = error.context.subject.flatMap { try? Digest($0) }
        let kind: VerificationReport.Damage.Kind =
            if error.cause is ArchivedBlob { .archived } else {
                digest == nil ? .unreadable : VerificationReport.Damage.Kind(error.code)
            }
        add(digest, kind, error.message)
    }

    /// A problem that costs results is damage, others are not.
    private mutating func add(_ problem: CacheProblem) {
        let digest = problem.subject.flatMap { try? Digest($0) }
        switch problem.kind {
        case .lostLayer: add(digest, .missing, problem.message)
        case .unreadableCache where problem.code != nil:
            add(digest, problem.code.map { VerificationReport.Damage.Kind($0) } ?? .unreadable, problem.message)
        default: problems.append(problem)
        }
    }

    private mutating func add(_ digest: Digest?, _ kind: VerificationReport.Damage.Kind, _ message: String) {
        damaged.append(VerificationReport.Damage(names: [name], digest: digest, kind: kind, message: message))
    }
}

extension VerificationReport.Damage.Kind {
    /// The damage of a document whose reading fails with this code.
    fileprivate init(_ code: CacheError.Code) {
        switch code {
        case .notFound: self = .missing
        case .corrupted: self = .corrupted
        default: self = .unreadable
        }
    }
}
