import BuildCacheCore
import BuildCacheHTTP
import BuildCacheJSON
import BuildCacheSpec
import NIOHTTP1

extension RegistryRepository {
    /// Tags of one page of the list, and the most pages that are read.
    private static let tagsPerPage = 1000
    private static let maximumPages = 1000
    private static let pageLimit = 16 << 20

    /// All tags of the repository, none if there is no repository yet.
    ///
    /// - Throws: `CacheError` `.limitExceeded` past a million tags, `.corrupted` for an answer that is no list, `.denied`, `.unavailable`.
    /// - Source: OCI distribution-spec 1.1, "Listing Tags".
    func tags() async throws -> [String] {
        var tags: [String] = []
        var next: ServiceURL? = try origin.url(path, "tags/list").adding([("n", "\(RegistryRepository.tagsPerPage)")])
        for _ in 0..<RegistryRepository.maximumPages {
            guard let url = next else { return tags }
            let response = try await client.send(
                OutgoingRequest(.GET, url), to: origin, .push(path), retries: client.transport.retries())
            guard response.status != .notFound else {
                await response.discard()
                return tags
            }
            guard response.status == .ok else { throw await response.failure().error }
            next = try response.headers.nextPage.map { try upgraded(response.url.resolving($0)) }
            tags += try RegistryRepository.tags(in: try await response.collect(upTo: RegistryRepository.pageLimit))
        }
        throw CacheError(
            .limitExceeded, "the repository has more than \(RegistryRepository.maximumPages) pages of tags",
            context: .init(backend: "registry", subject: path))
    }

    private static func tags(in answer: [UInt8]) throws(CacheError) -> [String] {
        var tags: [String] = []
        try JSONReader.read(answer, as: "list of tags") { reader throws(CacheError) in
            guard try reader.beginObject() else { return }
            while let key = try reader.nextKey() {
                switch key {
                case "tags":
                    guard try reader.beginArray() else { continue }
                    while try reader.nextElement() { if let tag = try reader.string() { tags.append(tag) } }
                default: try reader.skipValue()
                }
            }
        }
        return tags
    }

    /// Removes a manifest and all tags that lead to it.
    ///
    /// - Returns: Whether the registry allows that; one that is gone already counts as removed.
    func removeManifest(_ digest: Digest) async throws -> Bool {
        let response = try await client.send(
            OutgoingRequest(.DELETE, try origin.url(path, "manifests/\(digest)")), to: origin,
            AuthScopes(["repository:\(path):delete,pull,push"]), retries: client.transport.retries())
        switch response.status.code {
        case 200, 202, 204, 404:
            await response.discard()
            return true
        case 400, 401, 403, 405, 501:
            await response.discard()
            return false
        default: throw await response.failure().error
        }
    }
}

extension HTTPHeaders {
    /// The address of the next page, as in `Link: </v2/name/tags/list?last=x>; rel="next"`.
    fileprivate var nextPage: String? {
        for link in self["Link"] where link.contains("rel=\"next\"") || link.contains("rel=next") {
            guard let start = link.firstIndex(of: "<"), let end = link[start...].firstIndex(of: ">") else { continue }
            return String(link[link.index(after: start)..<end])
        }
        return nil
    }
}
