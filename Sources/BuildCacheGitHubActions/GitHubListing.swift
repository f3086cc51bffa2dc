import BuildCacheCore
import BuildCacheHTTP
import BuildCacheJSON
import BuildCacheSpec
import NIOHTTP1

/// Lists and deletes entries with GitHub's REST API: one request for a hundred layers instead of one for each.
///
/// - Source: GitHub REST API, "List GitHub Actions caches for a repository", "Delete a GitHub Actions cache for a repository (using a
///   cache ID)"; `spec/backends.md` §4.4.
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
    /// Lists that are begun anew because entries came or went meanwhile.
    private static let maximumTries = 8

    /// An entry as it is listed.
    struct Entry: Hashable, Sendable {
        var number: Int64
        var key: String
        /// As `refs/heads/main`.
        var scope: String
        var size: Int64 = 0
        var createdAt: Timestamp?
        var accessedAt: Timestamp?

        /// When it was made or looked up last.
        var usedAt: Timestamp? { [createdAt, accessedAt].compactMap { $0 }.max() }
    }

    /// The entries of build caches whose keys begin with `prefix`, in a scope, as `refs/heads/main`, or in all, oldest first.
    ///
    /// Pages shift when an entry goes, and hide another one behind it: such a list is begun anew.
    func entries(_ prefix: String, in scope: String?, retries: Retries) async throws -> [Entry] {
        for _ in 0..<GitHubListing.maximumTries {
            var entries: [Entry] = []
            var count = 0
            var totals: Set<Int> = []
            for page in 1...GitHubListing.maximumPages {
                let found = try await self.page(page, prefix, scope, retries)
                entries += found.entries
                count += found.count
                totals.insert(found.total)
                if found.count == 0 || found.total <= page * GitHubListing.pageSize { break }
            }
            if totals == [count] { return entries }
        }
        throw CacheError(
            .busy, "the list of caches changes all the time; try again later", context: .init(backend: "gha"),
            retry: .worthwhile)
    }

    /// Deletes an entry, which may be gone already.
    func delete(_ entry: Entry, retries: Retries) async throws {
        let response = try await transport.send(try request(.DELETE, "/\(entry.number)"), retries: retries)
        guard response.status != .noContent && response.status != .notFound else { return await response.discard() }
        var error = await response.failure().error.adding(backend: "gha", operation: "delete", subject: entry.key)
        if error.code == .denied { error.message += "; the token ghtoken needs the permission actions: write" }
        throw error
    }

    private func request(
        _ method: HTTPMethod, _ rest: String = "", _ parameters: [(name: String, value: String)] = []
    ) throws(CacheError) -> OutgoingRequest {
        let names = repository.split(separator: "/", omittingEmptySubsequences: false)
        guard names.count == 2, names.allSatisfy({ !$0.isEmpty }) else {
            throw CacheError(.invalidSpec, "repository is no owner/name")
        }
        let root = api.base.hasSuffix("/") ? String(api.base.dropLast()) : api.base
        let path = names.map { String($0).percentEncoded }.joined(separator: "/")
        var request = OutgoingRequest(
            method, try ServiceURL("\(root)/repos/\(path)/actions/caches\(rest)").adding(parameters),
            headers: ["Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"])
        try request.credentials.set("Authorization", Secret("Bearer \(token.exposed)"))
        return request
    }

    private func page(
        _ page: Int, _ prefix: String, _ scope: String?, _ retries: Retries
    ) async throws -> (entries: [Entry], count: Int, total: Int) {
        let request = try request(
            .GET, "",
            [
                ("per_page", "\(GitHubListing.pageSize)"), ("page", "\(page)"), ("key", prefix),
                ("sort", "created_at"), ("direction", "asc"),
            ] + (scope.map { [("ref", $0)] } ?? []))
        let response = try await transport.send(request, retries: retries)
        guard response.status == .ok else { throw await response.failure().error }
        var entries: [Entry] = []
        var count = 0
        var total: Int64 = 0
        let bytes = try await response.collect(upTo: GitHubListing.answerLimit)
        try JSONReader.read(bytes, as: "list of caches") { reader throws(CacheError) in
            guard try reader.beginObject() else { return }
            while let key = try reader.nextKey() {
                switch key {
                case "total_count": total = try reader.integer()
                case "actions_caches":
                    guard try reader.beginArray() else { continue }
                    while try reader.nextElement() {
                        count += 1
                        if let entry = try reader.cacheEntry() { entries.append(entry) }
                    }
                default: try reader.skipValue()
                }
            }
        }
        return (entries, count, Int(clamping: total))
    }
}

extension JSONReader {
    /// Reads one entry of the list; `nil` if it is not of the version that build caches have.
    fileprivate mutating func cacheEntry() throws(CacheError) -> GitHubListing.Entry? {
        var entry = GitHubListing.Entry(number: 0, key: "", scope: "")
        var version: String?
        guard try beginObject() else { return nil }
        while let key = try nextKey() {
            switch key {
            case "id": entry.number = try integer()
            case "key": entry.key = try string() ?? ""
            case "ref": entry.scope = try string() ?? ""
            case "version": version = try string()
            case "size_in_bytes": entry.size = try integer()
            case "created_at": entry.createdAt = try string().flatMap { try? Timestamp($0) }
            case "last_accessed_at": entry.accessedAt = try string().flatMap { try? Timestamp($0) }
            default: try skipValue()
            }
        }
        return version == GitHubKeys.version && !entry.key.isEmpty ? entry : nil
    }
}
