package import BuildCacheBytes
package import BuildCacheCore
import BuildCacheHTTP
import BuildCacheSpec
import BuildCacheClient
import NIOHTTP1

/// A container of blobs, and the layers of caches in it.
package struct AzureContainer: BlobStore {
    let requests: BlobRequests
    private let account: ServiceURL
    let container: String
    /// The account, as signatures name it.
    let accountName: String
    let names: AzureNames
    private let damaged: DamagedBlobs

    /// - Parameters:
    ///   - options: Where, and the prefixes of names.
    ///   - damaged: Blobs of all accounts that proved damaged, by their URLs.
    init(_ options: AzureBlobOptions, _ requests: BlobRequests, damaged: DamagedBlobs = DamagedBlobs()) {
        self.requests = requests
        self.damaged = damaged
        account = options.accountURL
        container = options.container
        accountName = options.accountName
        names = AzureNames(options)
    }

    // MARK: Names

    /// The blob of this name.
    func blob(named name: String) throws(CacheError) -> BlockBlob {
        BlockBlob(try url("/" + name.pathSegmentEncoded), requests)
    }

    /// The container itself, with parameters.
    func url(_ parameters: [(name: String, value: String)]) throws(CacheError) -> ServiceURL {
        try url("").adding([("restype", "container")] + parameters)
    }

    private func url(_ rest: String) throws(CacheError) -> ServiceURL {
        let signature = account.query.map { "?" + $0.exposed } ?? ""
        return try account.appending("/\(container.pathSegmentEncoded)\(rest)\(signature)")
    }

    // MARK: Blobs

    /// Size and age of a layer, `nil` if it is not there, or cannot be read because it is archived or has proved damaged.
    package func stat(_ digest: Digest) async throws -> BlobStat? {
        guard let properties = try await properties(digest), !properties.isArchived, !isDamaged(digest) else {
            return nil
        }
        return BlobStat(size: properties.size, modifiedAt: properties.modifiedAt)
    }

    /// The properties of a stored layer, readable or not; `nil` if it is not stored.
    func properties(_ digest: Digest) async throws -> BlobProperties? {
        try await blob(named: names.blob(digest)).properties(retries: requests.transport.retries())
    }

    /// Whether this process has read other bytes than those of the layer.
    func isDamaged(_ digest: Digest) -> Bool { damaged.contains(place(digest)) }

    /// Notes that the bytes of a layer are not its own, so that the next export of this process replaces them.
    func noteDamage(_ digest: Digest) { damaged.note(place(digest)) }

    private func place(_ digest: Digest) -> String { "\(account.base)/\(container)/\(names.blob(digest))" }

    /// Up to this age an export relies on a layer without renewing it.
    static let renewalAge = Duration.seconds(86_400)

    /// Whether a layer is so old that a prune might take it for unused.
    func isStale(_ modifiedAt: Timestamp?) -> Bool {
        modifiedAt.map { requests.now().elapsed(since: $0) > AzureContainer.renewalAge } ?? false
    }

    /// Resets the age of a layer.
    ///
    /// - Returns: `nil` if it is gone meanwhile.
    func refresh(_ digest: Digest) async throws -> PutOutcome? {
        let isThere = try await blob(named: names.blob(digest)).renew(retries: requests.transport.retries())
        return isThere ? .refreshed : nil
    }

    private func keep(_ digest: Digest, _ modifiedAt: Timestamp?) async throws -> PutOutcome? {
        isStale(modifiedAt) ? try await refresh(digest) : .alreadyPresent
    }

    /// Reads a layer without verifying it.
    package func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        do {
            return try await blob(named: names.blob(descriptor.digest)).open(size: descriptor.size, range: range)
        } catch let error as CacheError {
            throw error.adding(backend: "azblob", subject: "\(descriptor.digest)")
        }
    }

    /// Stores a layer unless it is there; one of another size is replaced.
    ///
    /// The container is made if it is missing.
    package func put(_ descriptor: Descriptor, from source: any BlobSource) async throws -> PutOutcome {
        let blob = try blob(named: names.blob(descriptor.digest))
        let retries = requests.transport.retries()
        do {
            while true {
                var condition = BlockBlob.Condition.absent
                if let found = try await blob.properties(retries: retries) {
                    if found.isArchived, let etag = found.etag {
                        // The service refuses to replace it. No reader could have read it.
                        _ = try await blob.remove(ifUnchanged: etag, retries: retries)
                    } else if !found.isArchived, found.size == descriptor.size, !isDamaged(descriptor.digest) {
                        if let outcome = try await keep(descriptor.digest, found.modifiedAt) { return outcome }
                    } else {
                        condition = found.etag.map { .unchanged(etag: $0) } ?? .none
                    }
                }
                let written = try await makingContainer {
                    try await blob.put(descriptor, from: source, condition, retries: retries)
                }
                if written == .written {
                    damaged.forget(place(descriptor.digest))
                    return .written
                }
                // Another writer, who began later or was faster, wrote it meanwhile. A service may also keep an old one that it says is gone.
                if let stat = try await stat(descriptor.digest), stat.size == descriptor.size,
                    let outcome = try await keep(descriptor.digest, stat.modifiedAt)
                {
                    return outcome
                }
                try await retries.pause(after: .overtaken(blob.url))
            }
        } catch let error as CacheError {
            throw error.adding(backend: "azblob", operation: "export", subject: "\(descriptor.digest)")
        }
    }

    // MARK: The container

    /// Runs `body`, and again after making the container if that is what is missing.
    func makingContainer<Value: Sendable>(_ body: () async throws -> Value) async throws -> Value {
        do { return try await body() } catch let error as CacheError
            where error.code == .notFound && !(error.cause is ArchivedBlob)
        {
            try await create()
            return try await body()
        }
    }

    private func create() async throws {
        let request = OutgoingRequest(.PUT, try url([]))
        let response = try await requests.send(request, retries: requests.transport.retries())
        guard response.status != .created else { return await response.discard() }
        let failure = await requests.failure(response, request)
        guard failure.code != "ContainerAlreadyExists" else { return }
        var error = failure.error
        if error.code == .denied {
            error.message += "; the container \(container) is not there: make it, or allow this identity to"
        }
        throw error
    }
}

extension Error where Self == CacheError {
    /// Another writer changed what a write relied on.
    static func overtaken(_ url: ServiceURL) -> CacheError {
        CacheError(.busy, "\(url.base) is being written by somebody else", retry: .worthwhile)
    }
}
