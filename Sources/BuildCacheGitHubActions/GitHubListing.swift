import BuildCacheCore
import BuildCacheHTTP
import BuildCacheJSON
import BuildCacheSpec
import NIOHTTP1

/// Lists entries with GitHub's REST API: one request for a hundred layers instead of one for each.
///
/// - Source: GitHub REST API, "List GitHub Actions caches for a repository"; `spec/backends.md` §4.4.
struct GitHubListing: Sendable {
    let transport: HTTPTransport
    let api: ServiceURL
    /// As `owner/name`.
    let repository: String
    let token: Secret<String>

    private static let pageSize = 100
    /// GitHub keeps 10 GB for a repository; so many pages are more than anybody has.
    private static let maximumPages = 1000
    private static let answerLimit = 16 << 20

    /// The keys that begin with `prefix` in a scope, as `refs/heads/main`.
    func keys(_ prefix: String, in scope: String, retries: Retries) async throws -> Set<String> {
        var keys: Set<String> = []
        for page in 1...GitHubListing.maximumPages {
            let (found, total) = try await self.page(page, prefix, scope, retries)
            keys.formUnion(found)
            if found.isEmpty || total <= page * GitHubListing.pageSize { break }
        }
        return keys
    }

    private func page(
        _ page: Int, _ prefix: String, _ scope: String, _ retries: Retries
    ) async throws -> (keys: [String], total: Int) {
        let names = repository.split(separator: "/", omittingEmptySubsequences: false)
        guard names.count == 2, names.allSatisfy({ !$0.isEmpty }) else {
            throw CacheError(.invalidSpec, "repository is no owner/name")
        }
        let root = api.base.hasSuffix("/") ? String(api.base.dropLast()) : api.base
        let path = names.map { String($0).percentEncoded }.joined(separator: "/")
        let url = try ServiceURL("\(root)/repos/\(path)/actions/caches").adding([
            ("per_page", "\(GitHubListing.pageSize)"), ("page", "\(page)"), ("key", prefix), ("ref", scope),
        ])
        var request = OutgoingRequest(
            .GET, url, headers: ["Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"])
        request.credentials = ["Authorization": "Bearer \(token.exposed)"]
        let response = try await transport.send(request, retries: retries)
        guard response.status == .ok else { throw await response.failure().error }
        var keys: [String] = []
        var total: Int64 = 0
        let bytes = try await response.collect(upTo: GitHubListing.answerLimit)
        try JSONReader.read(bytes, as: "list of caches") { reader throws(CacheError) in
            guard try reader.beginObject() else { return }
            while let key = try reader.nextKey() {
                switch key {
                case "total_count": total = try reader.integer()
                case "actions_caches":
                    guard try reader.beginArray() else { continue }
                    while try reader.nextElement() { try reader.readEntry { keys.append($0) } }
                default: try reader.skipValue()
                }
            }
        }
        return (keys, Int(clamping: total))
    }
}

extension JSONReader {
    /// Reads one entry of the list, and hands its key on if it is of the version that build caches have.
    fileprivate mutating func readEntry(_ take: (String) -> Void) throws(CacheError) {
        var name: String?
        var version: String?
        guard try beginObject() else { return }
        while let key = try nextKey() {
            switch key {
            case "key": name = try string()
            case "version": version = try string()
            default: try skipValue()
            }
        }
        if let name, version == GitHubKeys.version { take(name) }
    }
}
