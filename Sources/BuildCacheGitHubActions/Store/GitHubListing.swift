import BuildCacheCore
import BuildCacheHTTP
import NIOHTTP1
import Synchronization

/// Lists and deletes entries with GitHub's REST API: one request for a hundred layers instead of one for each.
///
/// - Source: GitHub REST API, "List GitHub Actions caches for a repository", "Delete a GitHub Actions cache for a repository (using a
///   cache ID)"; `Documentation/Spec/backends.md` §4.4.
struct GitHubListing: Sendable {
    let transport: HTTPTransport
    let api: ServiceURL
    /// As `owner/name`.
    let repository: String
    let token: Secret<String>

    private static let pageSize = 100
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
    ///
    /// - Throws: `CacheError` `.limitExceeded` past a million entries or 15 minutes, `.busy` if the list changes all the time.
    func entries(_ prefix: String, in scope: String?, retries: Retries) async throws -> [Entry] {
        let list = Paginator("the list of caches of \(repository)", transport)
        for _ in 0..<GitHubListing.maximumTries {
            let totals = Mutex<Set<Int>>([])
            let listed = try await list.entries(from: 1, name: { $0?.key ?? "" }) { place in
                let page = place ?? 1
                let found = try await self.page(page, prefix, scope, retries)
                totals.withLock { _ = $0.insert(found.total) }
                let isLast = found.entries.isEmpty || found.total <= page * GitHubListing.pageSize
                return Paginator.Page(found.entries, next: isLast ? nil : page + 1)
            }
            if totals.withLock({ $0 }) == [listed.count] { return listed.compactMap { $0 } }
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
        let path = names.map { String($0).percentEncoded }.joined(separator: "/")
        var request = OutgoingRequest(
            method, try api.appending("/repos/\(path)/actions/caches\(rest)").adding(parameters),
            headers: ["Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"])
        try request.credentials.set("Authorization", Secret("Bearer \(token.exposed)"))
        return request
    }

    /// The entries of a page, `nil` for those of other tools, and how many there are on all pages.
    private func page(
        _ page: Int, _ prefix: String, _ scope: String?, _ retries: Retries
    ) async throws -> (entries: [Entry?], total: Int) {
        let request = try request(
            .GET, "",
            [
                ("per_page", "\(GitHubListing.pageSize)"), ("page", "\(page)"), ("key", prefix),
                ("sort", "created_at"), ("direction", "asc"),
            ] + (scope.map { [("ref", $0)] } ?? []))
        let response = try await transport.send(request, retries: retries)
        guard response.status == .ok else { throw await response.failure().error }
        var entries: [Entry?] = []
        var total: Int?
        let bytes = try await response.collect(upTo: GitHubListing.answerLimit)
        try JSONReader.read(bytes, as: "list of caches") { reader throws(CacheError) in
            guard try reader.beginObject() else { return }
            while let key = try reader.nextKey() {
                switch key {
                case "total_count":
                    total = Int(try reader.number(as: "total_count", in: 0...1 << 32))
                case "actions_caches":
                    guard try reader.beginArray() else { continue }
                    while try reader.nextElement() { entries.append(try reader.cacheEntry()) }
                default: try reader.skipValue()
                }
            }
        }
        guard let total else {
            throw CacheError(.corrupted, "the list of caches of \(repository) has no total_count; expected a number")
        }
        return (entries, total)
    }
}

extension JSONReader {
    /// An integer in a range.
    ///
    /// - Throws: `CacheError` `.corrupted` for any other value.
    mutating func number(as name: String, in range: ClosedRange<Int64>) throws(CacheError) -> Int64 {
        let value = try integer()
        guard range.contains(value) else {
            throw invalid("\(name) is \(value), expected \(range.lowerBound)...\(range.upperBound)")
        }
        return value
    }

    /// Reads one entry of the list; `nil` if it is not of the version that build caches have.
    fileprivate mutating func cacheEntry() throws(CacheError) -> GitHubListing.Entry? {
        var entry = GitHubListing.Entry(number: 0, key: "", scope: "")
        var version: String?
        guard try beginObject() else { return nil }
        while let key = try nextKey() {
            switch key {
            case "id": entry.number = try number(as: "id", in: 0...Int64.max)
            case "key": entry.key = try string() ?? ""
            case "ref": entry.scope = try string() ?? ""
            case "version": version = try string()
            case "size_in_bytes": entry.size = try number(as: "size_in_bytes", in: 0...Descriptor.maximumSize)
            case "created_at": entry.createdAt = try string().flatMap { try? Timestamp($0) }
            case "last_accessed_at": entry.accessedAt = try string().flatMap { try? Timestamp($0) }
            default: try skipValue()
            }
        }
        let isOurs =
            version == GitHubKeys.version
            || (version == GitHubKeys.signatureVersion && entry.key.hasPrefix(GitHubKeys.signaturePrefix))
        return isOurs && !entry.key.isEmpty ? entry : nil
    }
}
