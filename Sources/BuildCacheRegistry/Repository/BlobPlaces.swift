import BuildCacheCore
import Synchronization

/// The repositories of a registry in which this process has seen blobs.
///
/// A mount copies a blob by its digest alone, with the rights of this process. So a blob is mounted only from where this process has seen
/// it, or from a repository that the program named: what a cache says about its layers makes nothing readable that was not.
final class BlobPlaces: Sendable {
    private struct Place: Hashable {
        var domain: String
        var digest: Digest
    }

    // Some 100 bytes each; a process that sees more forgets what it saw.
    private static let limit = 100_000

    private let repositories = Mutex<[Place: Set<String>]>([:])

    func add(_ digests: some Sequence<Digest>, _ repository: String, _ domain: String) {
        repositories.withLock { repositories in
            if repositories.count > BlobPlaces.limit { repositories = [:] }
            for digest in digests {
                repositories[Place(domain: domain, digest: digest), default: []].insert(repository)
            }
        }
    }

    func contains(_ digest: Digest, _ repository: String, _ domain: String) -> Bool {
        repositories.withLock { $0[Place(domain: domain, digest: digest)]?.contains(repository) ?? false }
    }

    /// The repository to mount a blob from: one where it was seen, else one that the program named; of several, one that the layer's
    /// own annotation names, else the one whose path has most in common with the target's.
    ///
    /// - Parameter named: The repositories that the program named.
    /// - Source: `Documentation/Spec/backends.md` §1.4.
    func source(of descriptor: Descriptor, for target: String, _ domain: String, named: [String]) -> String? {
        let seen = repositories.withLock { $0[Place(domain: domain, digest: descriptor.digest)] ?? [] }
        let noted = descriptor.annotations["containerd.io/distribution.source.\(domain)"] ?? ""
        let annotated = Set(
            noted.split(separator: ",").compactMap { Reference.repositoryPath(String($0), at: domain) })
        let parts = target.split(separator: "/")
        func rank(_ candidate: String) -> (Int, Int, Int) {
            let common = zip(parts, candidate.split(separator: "/")).prefix { $0 == $1 }.count
            return (seen.contains(candidate) ? 1 : 0, annotated.contains(candidate) ? 1 : 0, common)
        }
        return seen.union(named).filter { $0 != target }.sorted().max { rank($0) < rank($1) }
    }
}
