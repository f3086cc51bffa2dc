import BuildCacheCore
import BuildCacheHTTP
import NIOHTTP1

extension RegistryRepository {
    private static let tagsPerPage = 1000
    private static let pageLimit = 16 << 20

    /// All tags, as the registry itself lists them; none if the repository does not exist.
    ///
    /// - Throws: `CacheError` `.limitExceeded` past a million tags or 15 minutes, `.denied`, `.unavailable`.
    /// - Source: OCI distribution-spec 1.1, "Listing Tags".
    func tags() async throws -> [String] {
        let start = try origin.url(path, "tags/list").adding([("n", "\(Self.tagsPerPage)")])
        let retries = client.transport.retries()
        return try await Paginator("the list of tags of \(path)", client.transport).entries(
            from: start, name: { $0 }
        ) { place in
            try await tags(at: place ?? start, retries)
        }
    }

    /// The tags of one page, and the URL of the next.
    private func tags(at url: ServiceURL, _ retries: Retries) async throws -> Paginator.Page<String, ServiceURL> {
        try await retries.retry {
            let response = try await client.send(
                OutgoingRequest(.GET, url), to: origin, .pull(origin.repository(path)), retries: retries)
            guard response.status != .notFound else {
                await response.discard()
                return Paginator.Page([], next: nil)
            }
            guard response.status == .ok else { throw await response.failure().error }
            let tags = try RegistryRepository.tags(in: try await response.collect(upTo: Self.pageLimit))
            let next = try response.headers["Link"].lazy.compactMap(Self.nextPage).first.map {
                try upgraded(url.resolving($0))
            }
            return Paginator.Page(tags, next: next)
        }
    }

    private static func tags(in bytes: [UInt8]) throws(CacheError) -> [String] {
        var tags: [String] = []
        try JSONReader.read(bytes, as: "list of tags") { reader throws(CacheError) in
            guard try reader.beginObject() else { return }
            while let key = try reader.nextKey() {
                switch key {
                case "tags":
                    // A repository without tags has null.
                    guard try reader.beginArray() else { continue }
                    while try reader.nextElement() { if let tag = try reader.string() { tags.append(tag) } }
                default: try reader.skipValue()
                }
            }
        }
        return tags
    }

    /// The address of the link with `rel="next"` in a header `Link: <…>; rel="next", <…>; rel="last"`, `nil` if none has that.
    ///
    /// - Source: RFC 8288.
    static func nextPage(_ header: String) -> String? {
        var rest = header[...]
        while let start = rest.firstIndex(of: "<"), let end = rest[start...].firstIndex(of: ">") {
            // They end where the address of the next link begins.
            let parameters = rest[end...].prefix { $0 != "<" }
            if parameters.replacing(" ", with: "").replacing("\"", with: "").lowercased().contains("rel=next") {
                return String(rest[rest.index(after: start)..<end])
            }
            rest = rest[parameters.endIndex...]
        }
        return nil
    }

    /// Deletes a manifest, and with it all tags that lead to it.
    ///
    /// - Throws: `CacheError` `.unsupported` if the registry allows no deletes, with what to do instead.
    /// - Source: OCI distribution-spec 1.1, "Deleting Manifests".
    func deleteManifest(_ digest: Digest) async throws {
        try servers.requirePush()
        let request = OutgoingRequest(.DELETE, try origin.url(path, "manifests/\(digest)"))
        let response = try await client.send(
            request, to: origin, .delete(origin.repository(path)), retries: client.transport.retries())
        guard ![200, 202, 204, 404].contains(response.status.code) else { return await response.discard() }
        let failure = await response.failure()
        var error = failure.error.adding(backend: "registry", operation: "delete", subject: "\(digest)")
        if failure.status == 405 || failure.code == "UNSUPPORTED" {
            error.code = .unsupported
            error.retry = .never
            error.message +=
                "; the registry forbids deletes: allow them (docker-registry has storage.delete.enabled), or let its own retention "
                + "policy remove tags"
        }
        throw error
    }
}
