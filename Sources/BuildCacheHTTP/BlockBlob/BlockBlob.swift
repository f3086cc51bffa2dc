package import BuildCacheBytes
package import BuildCacheCore
import NIOCore
import NIOHTTP1

/// One block blob, by its URL.
///
/// - Source: Azure Storage REST API, "Put Blob", "Put Block", "Put Block List", "Get Blob".
package struct BlockBlob: Sendable {
    package let url: ServiceURL
    package let requests: BlobRequests

    /// Up to so many bytes a blob goes in one request.
    package static let singleSize: Int64 = 8 << 20
    /// Bytes of a block; more for blobs that would have too many.
    package static let blockSize: Int64 = 4 << 20
    /// Blocks of one blob that are sent at once.
    package static let blocksInFlight = 4
    private static let maximumBlocks: Int64 = 50_000
    /// The largest block, of which ``blocksInFlight`` and one more are in memory; 50 000 of them are 6 TiB.
    private static let largestBlock: Int64 = 128 << 20

    /// Bytes of each block but the last.
    ///
    /// - Throws: `CacheError` `.limitExceeded` for more bytes than 50 000 blocks of 128 MiB have.
    package static func blockSize(for size: Int64) throws(CacheError) -> Int64 {
        let needed = size.dividedRoundingUp(by: maximumBlocks)
        guard needed <= largestBlock else {
            throw CacheError(
                .limitExceeded,
                "a layer of \(size) bytes is too large for Azure: expected at most \(maximumBlocks * largestBlock)")
        }
        return max(blockSize, needed)
    }

    package init(_ url: ServiceURL, _ requests: BlobRequests) {
        self.url = url
        self.requests = requests
    }

    /// What a write asks of what is there.
    package enum Condition: Hashable, Sendable {
        case none
        case absent
        case unchanged(etag: String)
    }

    /// What a write came to.
    package enum Written: Hashable, Sendable {
        case written
        /// The condition was not met.
        case conflict
    }

    // MARK: Writing

    /// Stores a blob, in one request or in blocks, verified on its way.
    ///
    /// Until all of it is there nobody sees any of it.
    ///
    /// - Throws: `CacheError` `.corrupted` if `source` gives other bytes, `.denied`, `.unavailable`; what `source` throws.
    package func put(
        _ descriptor: Descriptor, from source: any BlobSource, _ condition: Condition, retries: Retries
    ) async throws -> Written {
        guard descriptor.size > BlockBlob.singleSize else {
            let body = OutgoingRequest.Body.stream(length: descriptor.size) {
                try await source.open(descriptor, range: nil).verified(as: descriptor)
            }
            return try await putWhole(body, condition, retries: retries)
        }
        let stream = try await source.open(descriptor, range: nil).verified(as: descriptor)
        return try await put(stream, size: descriptor.size, condition, retries: retries)
    }

    /// Stores a document.
    package func put(_ bytes: [UInt8], _ condition: Condition, retries: Retries) async throws -> Written {
        try await putWhole(.bytes(ByteBuffer(bytes: bytes)), condition, retries: retries)
    }

    private func putWhole(
        _ body: OutgoingRequest.Body, _ condition: Condition, retries: Retries
    ) async throws -> Written {
        var headers: HTTPHeaders = ["Content-Type": "application/octet-stream", "x-ms-blob-type": "BlockBlob"]
        headers.add(condition)
        return try await finish(OutgoingRequest(.PUT, url, headers: headers, body: body), retries)
    }

    /// Stores what a stream has, in blocks.
    ///
    /// The stream is read one time: what it throws before its end leaves nothing that anybody sees.
    package func put(
        _ stream: BlobStream, size: Int64, _ condition: Condition, retries: Retries
    ) async throws -> Written {
        let blockSize = try BlockBlob.blockSize(for: size)
        let upload = BlockNames()
        let count = try await stream.forEachPart(of: blockSize, limit: BlockBlob.blocksInFlight) { part in
            let request = OutgoingRequest(
                .PUT, try url.adding([("comp", "block"), ("blockid", upload.name(part.number))]),
                headers: ["Content-Type": "application/octet-stream"],
                body: .stream(length: part.length) { part.stream })
            let response = try await requests.send(request, retries: retries)
            guard response.status == .created else { throw await requests.failure(response, request).error }
            await response.discard()
            retries.madeProgress()
        }
        let list = (0..<count).map { "<Latest>\(upload.name($0))</Latest>" }.joined()
        var headers: HTTPHeaders = [
            "Content-Type": "application/xml", "x-ms-blob-content-type": "application/octet-stream",
        ]
        headers.add(condition)
        let request = OutgoingRequest(
            .PUT, try url.adding([("comp", "blocklist")]), headers: headers,
            body: .bytes(ByteBuffer(string: #"<?xml version="1.0" encoding="utf-8"?><BlockList>\#(list)</BlockList>"#)))
        return try await finish(request, retries)
    }

    /// Sends what makes the blob visible.
    private func finish(_ request: OutgoingRequest, _ retries: Retries) async throws -> Written {
        let response = try await requests.send(request, retries: retries)
        if response.status == .created {
            await response.discard()
            return .written
        }
        let failure = await requests.failure(response, request)
        // Whoever finishes first throws away the blocks of others: then there is a blob, and it is the one wanted.
        if failure.isConflict || failure.code == "InvalidBlockList" { return .conflict }
        throw failure.error
    }

    // MARK: Ages

    /// Makes the blob as old as a new one, and says whether it is there.
    ///
    /// - Source: Azure Storage REST API, "Set Blob Metadata": it changes `Last-Modified` and `ETag`.
    package func renew(retries: Retries) async throws -> Bool {
        let request = OutgoingRequest(
            .PUT, try url.adding([("comp", "metadata")]), headers: ["x-ms-meta-updatedat": requests.now().description])
        let response = try await requests.send(request, retries: retries)
        if response.status == .ok {
            await response.discard()
            return true
        }
        let failure = await requests.failure(response, request)
        if failure.isAbsence { return false }
        throw failure.error
    }

    /// Removes the blob unless it has another tag by now, and says whether it is gone.
    package func remove(ifUnchanged etag: String, retries: Retries) async throws -> Bool {
        let request = OutgoingRequest(.DELETE, url, headers: ["If-Match": etag, "x-ms-delete-snapshots": "include"])
        let response = try await requests.send(request, retries: retries)
        if response.status == .accepted {
            await response.discard()
            return true
        }
        let failure = await requests.failure(response, request)
        if failure.isAbsence { return true }
        if failure.isConflict { return false }
        throw failure.error
    }

    // MARK: Reading

    /// Size, age and tag of the blob, `nil` if it is not there.
    package func properties(retries: Retries) async throws -> BlobProperties? {
        let request = OutgoingRequest(.HEAD, url)
        let response = try await requests.send(request, retries: retries)
        if response.status == .ok, let size = response.length {
            await response.discard()
            let modified = response.headers.first(name: "Last-Modified").flatMap { Timestamp(httpDate: $0) }
            return BlobProperties(
                size: size, etag: response.headers.first(name: "ETag"), modifiedAt: modified,
                isArchived: response.headers.first(name: "x-ms-access-tier") == "Archive")
        }
        let failure = await requests.failure(response, request)
        // Not every emulator names the error, and a container that is not there has no blobs.
        if failure.isAbsence { return nil }
        throw failure.error
    }

    /// Reads a blob of `size` bytes, or a part of it, in several ranges at once if it is large.
    ///
    /// - Throws: `CacheError` `.notFound`, `.denied`, `.unavailable`.
    package func open(size: Int64, range: Range<Int64>?) async throws -> BlobStream {
        try await Download(size: size, retries: { requests.transport.retries() }) { range in
            try await get(range, retries: nil)
        }.open(range)
    }

    /// One response with the blob or a part of it.
    package func get(_ range: Range<Int64>?, retries: Retries?) async throws -> IncomingResponse {
        var request = OutgoingRequest(.GET, url)
        if let range {
            request.headers.add(name: "x-ms-range", value: "bytes=\(range.lowerBound)-\(range.upperBound - 1)")
        }
        let response = try await requests.send(request, retries: retries)
        guard response.status == .ok || response.status == .partialContent else {
            throw await requests.failure(response, request).error
        }
        return response
    }

    /// The bytes of a document and its tag, `nil` if it is not there.
    package func document(limit: Int, retries: Retries) async throws -> (bytes: [UInt8], etag: String?)? {
        do {
            return try await retries.retry {
                let response = try await get(nil, retries: nil)
                let bytes = try await response.collect(upTo: limit)
                if let length = response.length, length != Int64(bytes.count) {
                    throw CacheError(
                        .unavailable, "GET \(url.base): \(bytes.count) of \(length) bytes arrived", retry: .worthwhile)
                }
                return (bytes, response.headers.first(name: "ETag"))
            }
        } catch let error as CacheError where error.code == .notFound && !(error.cause is ArchivedBlob) {
            return nil
        }
    }
}

/// What is known of a blob without reading it.
package struct BlobProperties: Hashable, Sendable {
    package var size: Int64
    package var etag: String?
    package var modifiedAt: Timestamp?
    /// Whether it is in the archive tier, which a blob also is until it is rehydrated: it can then be removed and neither read nor replaced.
    package var isArchived = false

    /// The only tier that cannot be read.
    package static let archived = ArchivedBlob(tier: "Archive")

    package init(size: Int64, etag: String? = nil, modifiedAt: Timestamp? = nil, isArchived: Bool = false) {
        self.size = size
        self.etag = etag
        self.modifiedAt = modifiedAt
        self.isArchived = isArchived
    }
}

/// The names of the blocks of one upload.
///
/// 64 bytes, as BuildKit's: the blocks of one blob must have names of one length, also those that somebody left behind who broke off.
private struct BlockNames: Sendable {
    private let start = (0..<16).map { _ in UInt8.random(in: .min ... .max) }

    func name(_ number: Int) -> String {
        let digits = withUnsafeBytes(of: UInt32(truncatingIfNeeded: number).bigEndian) { Array($0) }
        let bytes = start + digits + [UInt8](repeating: 0, count: 44)
        return String(decoding: Base64.encode(bytes), as: UTF8.self)
    }
}

extension HTTPHeaders {
    fileprivate mutating func add(_ condition: BlockBlob.Condition) {
        switch condition {
        case .none: break
        case .absent: add(name: "If-None-Match", value: "*")
        case .unchanged(let etag): add(name: "If-Match", value: etag)
        }
    }
}
