public import BuildCacheBytes
public import BuildCacheCore
import BuildCacheHTTP
public import BuildCacheOCI
import Logging
import NIOCore
import NIOHTTP1

/// One repository of a registry: its blobs, and its manifests by tag or digest.
///
/// Reading goes through the mirrors of the registry, if it has some; whether something must be written, the registry itself decides.
///
/// - Source: OCI distribution-spec 1.1; `Documentation/Spec/backends.md` §1.
public struct RegistryRepository: BlobStore {
    let client: RegistryClient
    /// As in `docker.io`.
    let domain: String
    /// As in `library/app`.
    let path: String
    /// The registry and its mirrors.
    let servers: RegistryServers

    /// Looks up how the registry of `reference` is reached; its tag and digest do not count.
    ///
    /// - Parameters:
    ///   - reference: Whose registry and path count.
    ///   - insecure: Whether plain HTTP and certificates of unknown origin will do. Credentials go there only if
    ///     ``RegistrySettings/allowedInsecureHosts`` or the settings of the registry say so.
    ///   - client: The settings, and the knowledge about registries; share one.
    /// - Throws: `CacheError` `.invalidSpec` if the settings of the registry cannot be used.
    public init(_ reference: Reference, insecure: Bool = false, client: RegistryClient = .shared) async throws {
        self.client = client
        path = reference.path
        servers = try await client.servers(for: reference.domain, insecure: insecure)
        domain = reference.domain
    }

    /// The registry itself.
    var origin: Endpoint { servers.origin }

    /// Faults of settings and of places of credentials that stopped nothing so far; one line each.
    var problems: [String] {
        var problems = servers.problems
        for endpoint in servers.readers + [origin] {
            for problem in endpoint.authenticator.problems where !problems.contains(problem) {
                problems.append(problem)
            }
        }
        return problems
    }

    // MARK: Blobs

    /// Reads a blob, or a part of it, without verifying its bytes.
    ///
    /// A response that breaks off is asked for again from there; large blobs come in several ranges at once. A descriptor of a manifest's type is
    /// looked for among the manifests.
    ///
    /// - Throws: `CacheError` `.notFound`, `.denied`, `.unavailable`.
    public func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        let kind = RegistryRepository.manifestTypes.contains(descriptor.mediaType) ? "manifests" : "blobs"
        let accept = kind == "manifests" ? descriptor.mediaType.text : "*/*"
        let download = Download(size: descriptor.size, retries: { client.transport.retries() }) { range in
            // A mirror that fails is passed over, each time anew: it may have come back.
            let response = try await firstOf(servers.readers) { endpoint in
                // Encoded for the way, the bytes would be others than those of the digest.
                var headers: HTTPHeaders = ["Accept": accept, "Accept-Encoding": "identity"]
                if let range { headers.add(name: "Range", value: "bytes=\(range.lowerBound)-\(range.upperBound - 1)") }
                let response = try await client.send(
                    OutgoingRequest(.GET, try endpoint.url(path, "\(kind)/\(descriptor.digest)"), headers: headers),
                    to: endpoint, .pull(endpoint.repository(path)), retries: nil)
                switch response.status.code {
                case 200, 206:
                    note([descriptor.digest], at: endpoint)
                    return response
                default: throw await response.failure().error
                }
            }
            guard let response else { throw CacheError(.notFound, "the blob is not there") }
            return response
        }
        do { return try await download.open(range) } catch let error as CacheError {
            throw error.adding(backend: "registry", subject: "\(descriptor.digest)")
        }
    }

    /// Takes note that this repository has these blobs, if the registry itself said so.
    func note(_ digests: some Sequence<Digest>, at endpoint: Endpoint) {
        if endpoint.base == origin.base { client.places.add(digests, path, domain) }
    }

    /// The first answer of several endpoints, asked in their order; a failure counts only if it is that of the last one.
    func firstOf<Value: Sendable>(
        _ endpoints: [Endpoint], _ body: (Endpoint) async throws -> Value?
    ) async throws -> Value? {
        for endpoint in endpoints.dropLast() {
            do {
                if let value = try await body(endpoint) { return value }
            } catch let error as CacheError {
                client.transport.logger.debug("a mirror is passed over", metadata: ["error": "\(error)"])
            }
        }
        return try await endpoints.last.flatMapAsync(body)
    }

    // MARK: Manifests

    /// What a registry may answer with, in the order in which Docker asks.
    static let manifestTypes: [MediaType] = [.dockerManifest, .dockerManifestList, .ociManifest, .ociIndex]
    private static let acceptManifests = (manifestTypes.map(\.text) + ["*/*"]).joined(separator: ", ")

    /// The manifest under a tag or a digest, `nil` if there is none.
    ///
    /// - Parameters:
    ///   - name: The tag or digest.
    ///   - limit: The most bytes to accept.
    /// - Throws: `CacheError` `.corrupted` if it is not what the registry, or the digest, says it is; `.limitExceeded`.
    public func manifest(_ name: ManifestName, limit: Int = Document.defaultLimit) async throws -> RawDocument? {
        let endpoints =
            switch name {
            case .tag: servers.resolvers
            case .digest: servers.readers
            }
        return try await firstOf(endpoints) { endpoint in try await manifest(name, limit: limit, at: endpoint) }
    }

    func manifest(_ name: ManifestName, limit: Int, at endpoint: Endpoint) async throws -> RawDocument? {
        let request = OutgoingRequest(
            .GET, try endpoint.url(path, "manifests/\(name)"),
            headers: ["Accept": RegistryRepository.acceptManifests, "Accept-Encoding": "identity"])
        let retries = client.transport.retries()
        return try await retries.retry {
            let response = try await client.send(
                request, to: endpoint, .pull(endpoint.repository(path)), retries: retries)
            guard response.status != .notFound else {
                await response.discard()
                return nil
            }
            guard response.status == .ok else { throw await response.failure().error }
            let bytes = try await response.collect(upTo: limit)
            if let length = response.headers.byteCount("Content-Length"), length != bytes.count {
                throw CacheError(
                    .unavailable, "the manifest \(name) ends after \(bytes.count) of \(length) bytes",
                    retry: .worthwhile)
            }
            let type = response.headers.first(name: "Content-Type").map { $0.prefix { $0 != ";" } } ?? ""
            let document = RawDocument(mediaType: MediaType(String(type)), bytes: bytes)
            try check(document, name, response.headers)
            noteLayers(of: document, at: endpoint)
            return document
        }
    }

    /// Takes note of the blobs that a manifest which was read leads to: a registry has them where it has the manifest.
    private func noteLayers(of document: RawDocument, at endpoint: Endpoint) {
        guard endpoint.base == origin.base, let manifest = try? Document(decoding: document.bytes) else { return }
        if case .index = manifest { return }
        note(manifest.references.map(\.digest), at: endpoint)
    }

    private func check(_ document: RawDocument, _ name: ManifestName, _ headers: HTTPHeaders) throws(CacheError) {
        var announced = headers.contentDigest
        if case .digest(let digest) = name { announced = digest }
        guard let announced, announced != document.digest else { return }
        throw CacheError(
            .corrupted, "the registry gave a manifest with digest \(document.digest) for \(announced)",
            context: .init(backend: "registry", subject: "\(name)"))
    }

    /// The digest that a tag leads to now, `nil` if the tag does not exist.
    func digest(of tag: ManifestName, limit: Int) async throws -> Digest? {
        let request = OutgoingRequest(
            .HEAD, try origin.url(path, "manifests/\(tag)"), headers: ["Accept": RegistryRepository.acceptManifests])
        let response = try await client.send(
            request, to: origin, .push(origin.repository(path)), retries: client.transport.retries())
        if response.status == .notFound {
            await response.discard()
            return nil
        }
        if response.status == .ok, let digest = response.headers.contentDigest {
            await response.discard()
            return digest
        }
        // Any other answer to HEAD says little, and has no body with the reason: GET tells.
        await response.discard()
        return try await manifest(tag, limit: limit, at: origin)?.digest
    }

    /// Stores a manifest under a name, as the exact bytes that its digest is of.
    ///
    /// The blobs it leads to must be there. A reader of the name gets the old manifest or the new one.
    ///
    /// - Throws: `CacheError` `.unsupported` if the registry takes no such manifest, `.denied`, `.unavailable`.
    public func putManifest(_ document: RawDocument, as name: ManifestName) async throws {
        _ = try await storeManifest(document, as: name)
    }

    /// As ``putManifest(_:as:)``.
    ///
    /// - Parameter tag: The `ETag` that the manifest under the name must have.
    /// - Returns: The headers of the response.
    func storeManifest(_ document: RawDocument, as name: ManifestName, ifMatch tag: String? = nil) async throws
        -> HTTPHeaders
    {
        try servers.requirePush()
        var request = OutgoingRequest(
            .PUT, try origin.url(path, "manifests/\(name)"), headers: ["Content-Type": document.mediaType.text],
            body: .bytes(ByteBuffer(bytes: document.bytes)))
        if let tag { request.headers.add(name: "If-Match", value: tag) }
        let retries = client.transport.retries()
        var response = try await client.send(request, to: origin, .push(origin.repository(path)), retries: retries)
        while ![200, 201, 202, 204].contains(response.status.code) {
            let failure = await response.failure()
            guard isStale(failure) else { throw explained(failure, document) }
            do { try await retries.pause(after: failure.error.passing) } catch is CacheError {
                throw explained(failure, document)
            }
            response = try await client.send(request, to: origin, .push(origin.repository(path)), retries: retries)
        }
        await response.discard()
        if let stored = response.headers.contentDigest, stored != document.digest {
            throw CacheError(.corrupted, "the registry stored \(stored) instead of \(document.digest)")
        }
        return response.headers
    }
}

/// What a manifest is asked for by.
@nonexhaustive
public enum ManifestName: Hashable, Sendable, CustomStringConvertible {
    /// A name that may lead elsewhere tomorrow.
    case tag(String)
    /// What it is.
    case digest(Digest)

    /// What a reference means: its digest if it has one.
    public init(_ reference: Reference) {
        self = reference.digest.map { .digest($0) } ?? .tag(reference.tag ?? "latest")
    }

    /// The tag or the digest.
    public var description: String {
        switch self {
        case .tag(let tag): tag
        case .digest(let digest): digest.description
        }
    }
}

extension Optional where Wrapped: Sendable {
    fileprivate func flatMapAsync<Value>(_ body: (Wrapped) async throws -> Value?) async throws -> Value? {
        if let self { try await body(self) } else { nil }
    }
}
