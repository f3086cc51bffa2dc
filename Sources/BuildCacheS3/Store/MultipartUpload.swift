import BuildCacheBytes
import BuildCacheCore
import BuildCacheHTTP
import Logging
import NIOCore
import NIOHTTP1
import Synchronization

/// An object that is sent in parts: there when all of them are put together, and nowhere until then.
///
/// What is begun is ended, one way or the other: parts of an upload that nobody ends cost money for ever.
///
/// - Source: S3 API, "Uploading and copying objects using multipart upload".
struct MultipartUpload: Sendable {
    private let bucket: S3Bucket
    private let key: String
    private let id: String
    /// Whether another upload may have been begun by a request whose answer got lost.
    private let mayHaveTwin: Bool

    /// Begins an upload.
    ///
    /// Whoever is cancelled meanwhile waits for the answer: nobody could end an upload whose name got lost.
    static func begin(
        _ key: String, metadata: [(name: String, value: String)] = [], in bucket: S3Bucket
    ) async throws -> MultipartUpload {
        let isCancelled = Mutex(false)
        return try await withTaskCancellationHandler {
            let upload = try await uncancelled {
                try await begin(key, metadata, in: bucket) {
                    if isCancelled.withLock({ $0 }) { throw CancellationError() }
                }
            }
            if Task.isCancelled { try await upload.finishing { throw CancellationError() } }
            return upload
        } onCancel: {
            isCancelled.withLock { $0 = true }
        }
    }

    private static func begin(
        _ key: String, _ metadata: [(name: String, value: String)], in bucket: S3Bucket,
        again: @Sendable () throws -> Void
    ) async throws -> MultipartUpload {
        var request = S3Request(.POST, key, permission: "s3:PutObject")
        request.query = [("uploads", "")]
        request.headers = metadata + [("Content-Length", "0")]
        var tries = 1
        do {
            let id = try await bucket.document(
                request,
                again: {
                    tries += 1
                    try again()
                }
            ) { bytes in
                guard let id = try XMLNode.parse(bytes, "InitiateMultipartUploadResult").value("UploadId") else {
                    throw CacheError(.corrupted, "the service begins an upload without saying which")
                }
                return id
            }
            return MultipartUpload(bucket: bucket, key: key, id: id, mayHaveTwin: tries > 1)
        } catch {
            if !(error is S3Failure) || tries > 1 { await bucket.abortUploads(of: key, but: nil) }
            throw error
        }
    }

    /// Runs `body`, which sends the parts, and puts them together; aborts the upload if that fails or is cancelled.
    func finishing(_ body: () async throws -> [CompletedParts.Part]) async throws {
        do {
            let parts = try await body()
            if mayHaveTwin { await bucket.abortUploads(of: key, but: id) }
            try await complete(parts)
        } catch {
            await uncancelled {
                await bucket.abort(key, id)
                if mayHaveTwin { await bucket.abortUploads(of: key, but: id) }
            }
            throw error
        }
    }

    // MARK: Parts

    /// Sends a stream, several parts at once.
    func send(_ stream: BlobStream, size: Int64) async throws -> [CompletedParts.Part] {
        let partSize = try bucket.client.parts.size(for: size)
        return try await withThrowingTaskGroup(of: CompletedParts.Part.self) { group in
            var reader = PieceReader(stream)
            var parts: [CompletedParts.Part] = []
            var position: Int64 = 0
            var number = 0
            while position < size {
                let length = Int(min(partSize, size - position))
                if number - parts.count >= S3Bucket.partsInFlight, let part = try await group.next() {
                    parts.append(part)
                }
                try await bucket.client.budget.acquire(length)
                let bytes: ByteBuffer
                do {
                    guard let part = try await reader.next(length), part.readableBytes == length else {
                        throw CacheError(.corrupted, "the source ends too early")
                    }
                    bytes = part
                } catch {
                    bucket.client.budget.release(length)
                    throw error
                }
                number += 1
                position += Int64(length)
                group.addTask { [number] in
                    defer { bucket.client.budget.release(length) }
                    return try await sendPart(number, bytes)
                }
            }
            for try await part in group { parts.append(part) }
            return parts
        }
    }

    private func sendPart(_ number: Int, _ bytes: ByteBuffer) async throws -> CompletedParts.Part {
        var request = S3Request(.PUT, key, permission: "s3:PutObject")
        request.query = [("partNumber", "\(number)"), ("uploadId", id)]
        request.body = .bytes(bytes)
        // What TLS protects needs no second digest.
        request.payloadHash =
            bucket.endpoint.isPlain
            ? await Workers.processors.run { Digest(of: bytes.readableBytesView).hex } : SignatureV4.unsignedPayload
        let response = try await bucket.send(request)
        await response.discard()
        guard let etag = response.headers.first(name: "ETag") else {
            throw CacheError(.corrupted, "the service takes a part of an upload without naming it")
        }
        return CompletedParts.Part(number: number, etag: etag)
    }

    /// Takes a part from an object that is there.
    func copyPart(_ number: Int, from source: String, _ range: Range<Int64>) async throws -> CompletedParts.Part {
        var request = S3Request(.PUT, key, permission: "s3:PutObject and s3:GetObject")
        request.query = [("partNumber", "\(number)"), ("uploadId", id)]
        request.headers = [
            ("x-amz-copy-source", source),
            ("x-amz-copy-source-range", "bytes=\(range.lowerBound)-\(range.upperBound - 1)"),
        ]
        let etag = try await bucket.document(request) { bytes in
            guard let etag = try XMLNode.parse(bytes, "CopyPartResult").value("ETag") else {
                throw CacheError(.corrupted, "the service copies a part of an object without naming it")
            }
            return etag
        }
        return CompletedParts.Part(number: number, etag: etag)
    }

    // MARK: The end

    private func complete(_ parts: [CompletedParts.Part]) async throws {
        var request = S3Request(.POST, key, permission: "s3:PutObject")
        request.query = [("uploadId", id)]
        let document = CompletedParts.encode(parts)
        request.body = .bytes(ByteBuffer(bytes: document))
        request.payloadHash = Digest(of: document).hex
        try await bucket.sendChecked(request)
    }
}

extension S3Bucket {
    /// Gives an upload up; one that cannot be given up now is found by ``abortLeftovers()`` some day.
    fileprivate func abort(_ key: String, _ id: String) async {
        var request = S3Request(.DELETE, key, permission: "s3:AbortMultipartUpload")
        request.query = [("uploadId", id)]
        do {
            await (try await send(request)).discard()
        } catch let failure as S3Failure where failure.code == "NoSuchUpload" || failure.status == 404 {
            // Somebody else was faster.
        } catch {
            transport.logger.warning(
                "an upload is left behind", metadata: ["key": "\(key)", "error": "\(S3Failure.summary(of: error))"])
        }
    }

    /// Gives up what a request began whose answer got lost: uploads of the same layer that are as old as this one.
    ///
    /// Another writer whose upload this hits finds the layer complete, or begins again.
    fileprivate func abortUploads(of key: String, but id: String?) async {
        let uploads = (try? await self.uploads(key)) ?? []
        let own = uploads.first { $0.id == id }?.initiatedAt ?? now
        for upload in uploads where upload.key == key && upload.id != id {
            guard let time = upload.initiatedAt, abs(own.seconds - time.seconds) < S3Bucket.twinAge else { continue }
            await abort(key, upload.id)
        }
    }

    /// Seconds that may lie between two tries of one request.
    private static let twinAge: Int64 = 300

    /// Gives up the uploads of layers that some earlier export left behind, as when its machine was lost.
    ///
    /// Needs `s3:ListBucketMultipartUploads`; without it, nothing is cleaned up and nobody is bothered.
    func abortLeftovers() async {
        do {
            for upload in try await uploads(keys.blobListing) where keys.digest(ofBlob: upload.key) != nil {
                guard let time = upload.initiatedAt, now.seconds - time.seconds > client.leftoverAge else {
                    continue
                }
                await abort(upload.key, upload.id)
            }
        } catch {
            transport.logger.debug(
                "unfinished uploads cannot be listed", metadata: ["error": "\(S3Failure.summary(of: error))"])
        }
    }

    /// The uploads under way of objects whose keys begin with `prefix`.
    ///
    /// - Throws: `CacheError` `.limitExceeded` past a million uploads or 15 minutes.
    package func uploads(_ prefix: String) async throws -> [UploadPage.Upload] {
        let list = Paginator("the list of uploads of \(options.bucket)", transport)
        return try await list.entries(from: UploadPage.Place?.none, name: \.key) { place in
            var request = S3Request(.GET, nil, permission: "s3:ListBucketMultipartUploads on \(options.bucket)")
            request.query = [("uploads", ""), ("prefix", prefix)]
            if let place { request.query += [("key-marker", place.key), ("upload-id-marker", place.id)] }
            let page = try await document(request) { try UploadPage($0) }
            return Paginator.Page(page.uploads, next: page.next)
        }
    }
}

/// Runs `body` to its end: what is cancelled can send nothing any more, and leaves behind what it should clear away.
private func uncancelled<Value: Sendable>(_ body: @escaping @Sendable () async throws -> Value) async throws -> Value {
    // A task of its own does not hear of it.
    try await Task { try await body() }.value
}

private func uncancelled(_ body: @escaping @Sendable () async -> Void) async { await Task { await body() }.value }
