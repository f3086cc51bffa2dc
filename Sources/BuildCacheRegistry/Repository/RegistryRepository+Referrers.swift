import BuildCacheBytes
import BuildCacheClient
import BuildCacheCore
import BuildCacheHTTP
import BuildCacheOCI
import BuildCacheSigning
import NIOHTTP1

/// Signatures of manifests, as referrers of them.
///
/// - Source: OCI distribution-spec 1.1, "Listing Referrers", "Referrers Tag Schema"; `Documentation/Spec/signing.md` §5.
extension RegistryRepository {
    private static let bundleType = MediaType(SignatureBundle.mediaType)
    private static let emptyConfig = RawDocument(
        mediaType: "application/vnd.oci.empty.v1+json", bytes: Array("{}".utf8))
    /// The most referrers that are opened.
    private static let maximumReferrers = SignatureFile.maximumLines
    private static let maximumListBytes = 4 << 20
    /// The most attempts to add a referrer to a fallback tag.
    private static let attempts = 5

    /// The tag that lists the referrers of a manifest in a registry that has no list of its own.
    private static func fallbackTag(of subject: Digest) -> ManifestName { .tag("sha256-\(subject.hex)") }

    // MARK: Reading

    /// The signatures of a manifest; a referrer that cannot be used is a malformed line.
    ///
    /// - Parameter endpoints: The registries to ask, in their order; a mirror without signatures, or one that fails, is passed over.
    func signatures(of subject: Digest, at endpoints: [Endpoint]) async throws -> SignatureFile {
        var file = SignatureFile()
        var found: [Descriptor] = []
        do {
            found = try await firstOf(endpoints) { try await referrers(of: subject, at: $0) } ?? []
        } catch let error as CacheError where [.corrupted, .limitExceeded].contains(error.code) {
            file.lines.append(.malformed(error.message))
        }
        let newest = found.sorted { left, right in
            (left.annotations[Annotation.created] ?? "") > (right.annotations[Annotation.created] ?? "")
        }
        file.lines += try await newest.prefix(Self.maximumReferrers).mapConcurrently(limit: 4) { referrer in
            do {
                return try await bundle(in: referrer, of: subject).map { SignatureFile.Line.bundle($0) }
            } catch let error as CacheError
                where [.untrusted, .corrupted, .notFound, .limitExceeded, .unsupported].contains(error.code)
            {
                return .malformed(error.message)
            }
        }.compactMap { $0 }
        return file
    }

    /// The referrers that are or may be bundles: of the registry's own list, else of the fallback tag; `nil` for none.
    private func referrers(of subject: Digest, at endpoint: Endpoint) async throws -> [Descriptor]? {
        if let listed = try await listedReferrers(of: subject, at: endpoint) { return listed.isEmpty ? nil : listed }
        let fallback = try await manifest(Self.fallbackTag(of: subject), limit: Self.maximumListBytes, at: endpoint)
        return fallback.map { Self.bundles(in: $0.bytes, mayLackType: true) }
    }

    /// The registry has no list of referrers.
    private struct NoList: Error {}

    /// `nil` if the registry has no such list: any response but 200 with an index.
    private func listedReferrers(of subject: Digest, at endpoint: Endpoint) async throws -> [Descriptor]? {
        let start = try endpoint.url(path, "referrers/\(subject)").adding([("artifactType", SignatureBundle.mediaType)])
        do {
            return try await Paginator("the list of referrers of \(path)", client.transport).entries(
                from: start, name: \.digest.description
            ) { place in
                guard let page = try await referrers(on: place ?? start, at: endpoint) else { throw NoList() }
                return page
            }
        } catch is NoList {
            return nil
        }
    }

    /// The referrers of one page, and the URL of the next.
    private func referrers(
        on url: ServiceURL, at endpoint: Endpoint
    ) async throws -> Paginator.Page<Descriptor, ServiceURL>? {
        let request = OutgoingRequest(.GET, url, headers: ["Accept": MediaType.ociIndex.text])
        let response: IncomingResponse
        do {
            response = try await client.send(
                request, to: endpoint, .pull(endpoint.repository(path)), retries: client.transport.retries())
        } catch let error as CacheError where ![.denied, .unavailable].contains(error.code) {
            return nil
        }
        let type = response.headers.first(name: "Content-Type")?.prefix { $0 != ";" } ?? ""
        guard response.status == .ok, type == MediaType.ociIndex.text else {
            await response.discard()
            return nil
        }
        let bytes = try await response.collect(upTo: Self.maximumListBytes)
        // Bytes that are not a list leave the tag.
        guard case .index = try? Document(decoding: bytes) else { return nil }
        let next = try response.headers["Link"].lazy.compactMap(Self.nextPage).first.map {
            try upgraded(url.resolving($0))
        }
        return Paginator.Page(Self.bundles(in: bytes, mayLackType: false), next: next)
    }

    private static func bundles(in index: [UInt8], mayLackType: Bool) -> [Descriptor] {
        var unusable = UnusableEntries()
        guard case .index(let index) = try? Document(decoding: index, leavingOut: &unusable) else { return [] }
        return index.manifests.filter { descriptor in
            // Filters of registries are optional, and cosign writes some descriptors without a type.
            descriptor.artifactType.map { $0 == SignatureBundle.mediaType } ?? mayLackType
        }
    }

    /// The bundle of a referrer, `nil` if the referrer is something else.
    private func bundle(in referrer: Descriptor, of subject: Digest) async throws -> SignatureBundle? {
        guard
            let found = try await manifest(.digest(referrer.digest), limit: SignatureBundle.maximumBytes),
            case .image(let image) = try Document(decoding: found.bytes)
        else { return nil }
        guard image.artifactType == SignatureBundle.mediaType, let layer = image.layers.first else { return nil }
        guard image.layers.count == 1, image.subject?.digest == subject else {
            throw CacheError(.untrusted, "the referrer is of another manifest, or not one bundle")
        }
        let bytes = try await VerifiedSource(self).bytes(of: layer, limit: SignatureBundle.maximumBytes)
        return try SignatureBundle(decoding: bytes)
    }

    // MARK: Writing

    /// Adds a signature to those of a manifest, which need not be stored yet.
    func addSignature(_ bundle: SignatureBundle, to subject: Descriptor, now: Timestamp) async throws {
        let content = RawDocument(mediaType: Self.bundleType, bytes: bundle.bytes)
        _ = try await put(content)
        _ = try await put(Self.emptyConfig)
        var annotations = [Annotation.created: "\(Timestamp(seconds: now.seconds) ?? now)"]
        switch bundle.content {
        case .envelope:
            annotations["dev.sigstore.bundle.content"] = "dsse-envelope"
            annotations["dev.sigstore.bundle.predicateType"] = SignedStatement.predicateType
        default: annotations["dev.sigstore.bundle.content"] = "message-signature"
        }
        let referrer = ImageManifest(
            artifactType: SignatureBundle.mediaType, config: Self.emptyConfig.descriptor, layers: [content.descriptor],
            subject: Descriptor(mediaType: subject.mediaType, digest: subject.digest, size: subject.size),
            annotations: annotations
        ).encode()
        let headers = try await storeManifest(referrer, as: .digest(referrer.digest))
        guard headers.first(name: "OCI-Subject") == nil else { return }
        var descriptor = referrer.descriptor
        descriptor.artifactType = SignatureBundle.mediaType
        descriptor.annotations = annotations
        try await addToFallback(descriptor, of: subject.digest)
    }

    /// Removes the list of signatures of a manifest that was removed, where the registry keeps none itself.
    func removeFallback(of subject: Digest) async throws {
        guard let list = try await digest(of: Self.fallbackTag(of: subject), limit: Self.maximumListBytes) else {
            return
        }
        try await deleteManifest(list)
    }

    /// Adds a referrer to the list under the fallback tag, as often as another writer took it out.
    private func addToFallback(_ referrer: Descriptor, of subject: Digest) async throws {
        let tag = Self.fallbackTag(of: subject)
        for _ in 0..<Self.attempts {
            let current = try await manifest(tag, limit: Self.maximumListBytes, at: origin)
            var index = ImageIndex(manifests: [])
            if let current, case .index(let found) = try Document(decoding: current.bytes) { index = found }
            if index.manifests.contains(where: { $0.digest == referrer.digest }) { return }
            index.manifests.append(referrer)
            try Task.checkCancellation()
            try await putManifest(index.encode(), as: tag)
        }
        let last = try await manifest(tag, limit: Self.maximumListBytes, at: origin)
        guard let last, case .index(let index) = try Document(decoding: last.bytes),
            index.manifests.contains(where: { $0.digest == referrer.digest })
        else {
            throw CacheError(
                .busy, "other signers replaced the list of signatures \(Self.attempts) times; try again later",
                context: .init(subject: "\(tag)"), retry: .worthwhile)
        }
    }
}
