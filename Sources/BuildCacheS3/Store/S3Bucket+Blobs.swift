package import BuildCacheBytes
package import BuildCacheCore
import BuildCacheHTTP
import BuildCacheClient
import NIOCore
import NIOHTTP1

extension S3Bucket: BlobStore {
    /// Size and age of a layer, `nil` when it is not there, or cannot be read because it is archived or has proved damaged.
    ///
    /// - Throws: `CacheError` `.denied` also for what is not there, if the credentials may not list the bucket.
    package func stat(_ digest: Digest) async throws -> BlobStat? {
        try await reporting("look up", "\(digest)") {
            try await readable(digest).object.map { BlobStat(size: $0.size, modifiedAt: $0.modifiedAt) }
        }
    }

    /// The object of a layer that can be read, or the archive tier that keeps it from being read.
    func readable(_ digest: Digest) async throws -> (object: StoredObject?, archived: ArchivedBlob?) {
        if isDamaged(digest) { return (nil, nil) }
        guard let object = try await head(keys.blob(digest)) else { return (nil, nil) }
        return object.archived == nil ? (object, nil) : (nil, object.archived)
    }

    /// Whether this process has read other bytes than those of the layer.
    func isDamaged(_ digest: Digest) -> Bool { service.damaged.contains(place(digest)) }

    /// Notes that the bytes of a layer are not its own, so that the next export of this process replaces them.
    func noteDamage(_ digest: Digest) { service.damaged.note(place(digest)) }

    /// Notes that a layer was replaced.
    func forgetDamage(_ digest: Digest) { service.damaged.forget(place(digest)) }

    private func place(_ digest: Digest) -> String { "\(options.bucket)/\(keys.blob(digest))" }

    /// What is known of an object, `nil` when it is not there.
    func head(_ key: String) async throws -> StoredObject? {
        do {
            let response = try await send(S3Request(.HEAD, key, permission: "s3:GetObject"))
            await response.discard()
            guard let size = response.length else {
                throw CacheError(
                    .unsupported, "the service does not tell the size of an object: expected a valid Content-Length")
            }
            let modified = response.headers.first(name: "Last-Modified").flatMap { Timestamp(httpDate: $0) }
            return StoredObject(
                size: size, modifiedAt: modified, etag: response.headers.first(name: "ETag"),
                archived: StoredObject.archived(response.headers))
        } catch let failure as S3Failure where failure.status == 404 && failure.code != "NoSuchBucket" {
            return nil
        }
    }

    /// Reads a layer, or a part of it, without verifying its bytes.
    ///
    /// What breaks off is asked for again from there; large layers come in several ranges at once.
    package func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        let download = Download(size: descriptor.size, retries: { transport.retries() }) { range in
            var request = S3Request(.GET, keys.blob(descriptor.digest), permission: "s3:GetObject")
            if let range {
                request.headers.append(("Range", "bytes=\(range.lowerBound)-\(range.upperBound - 1)"))
            }
            do { return try await sendOnce(request) } catch let failure as S3Failure { throw failure.error }
        }
        return try await reporting("read", "\(descriptor.digest)") { try await download.open(range) }
    }

    /// Stores a layer unless it is there, whole.
    @discardableResult
    package func put(_ descriptor: Descriptor, from source: any BlobSource) async throws -> PutOutcome {
        if let stat = try await stat(descriptor.digest) {
            if stat.size == descriptor.size {
                guard isStale(stat) else { return .alreadyPresent }
                if let outcome = try await refresh(descriptor) { return outcome }
            }
            return try await upload(descriptor, from: source, replacing: true)
        }
        return try await upload(descriptor, from: source, replacing: false)
    }

    // MARK: Objects

    /// A small object, `nil` when it is not there.
    package func object(_ key: String, limit: Int) async throws -> [UInt8]? {
        try await taggedObject(key, limit: limit)?.bytes
    }

    /// A small object and the tag of its version, `nil` when it is not there.
    func taggedObject(_ key: String, limit: Int) async throws -> (bytes: [UInt8], etag: String?)? {
        do {
            return try await send(S3Request(.GET, key, permission: "s3:GetObject")) { response in
                let bytes = try await response.collect(upTo: limit)
                guard response.length ?? Int64(bytes.count) == Int64(bytes.count) else {
                    throw CacheError(.unavailable, "the object ends too early", retry: .worthwhile)
                }
                return (bytes, response.headers.first(name: "ETag"))
            }
        } catch let failure as S3Failure where failure.status == 404 && failure.code != "NoSuchBucket" {
            return nil
        }
    }

    /// Writes a small object over what is there.
    ///
    /// - Parameter condition: A header that says over what, as `If-Match`.
    package func putObject(
        _ key: String, _ bytes: [UInt8], if condition: (name: String, value: String)? = nil
    ) async throws {
        var request = S3Request(.PUT, key, permission: "s3:PutObject")
        request.body = .bytes(ByteBuffer(bytes: bytes))
        request.payloadHash = Digest(of: bytes).hex
        if let condition { request.headers.append(condition) }
        await (try await send(request)).discard()
    }

    // MARK: Ages

    /// Whether a layer is old enough for the lifecycle rules of the bucket to be near.
    func isStale(_ stat: BlobStat) -> Bool {
        let limit = options.touchRefresh.components.seconds
        return stat.modifiedAt.map { now.elapsed(since: $0) > .seconds(limit) } ?? false
    }

    /// Resets the age of a layer.
    ///
    /// - Returns: `nil` if it is gone meanwhile, or archived.
    func refresh(_ descriptor: Descriptor) async throws -> PutOutcome? {
        try await reporting("refresh", "\(descriptor.digest)") {
            do {
                try await touch(keys.blob(descriptor.digest), size: descriptor.size)
                return .refreshed
            } catch let failure as S3Failure where failure.status == 404 && failure.code != "NoSuchBucket" {
                return nil
            } catch let failure as S3Failure where failure.archived != nil {
                return nil
            } catch let failure as S3Failure where failure.status == 501 {
                // It is there, and a service that cannot copy may have no lifecycle rules either.
                return .alreadyPresent
            }
        }
    }

    /// Copies an object onto itself, which makes it new.
    ///
    /// - Source: `Documentation/Spec/backends.md` §5.2. New metadata is what makes a copy of an object onto itself legal.
    private func touch(_ key: String, size: Int64) async throws {
        let source = endpoint.copySource(key)
        let metadata = ("x-amz-meta-updated-at", now.description)
        guard size >= S3Bucket.largestCopy else {
            var request = S3Request(.PUT, key, permission: "s3:PutObject and s3:GetObject")
            request.headers = [
                ("x-amz-copy-source", source), ("x-amz-metadata-directive", "REPLACE"), metadata,
            ]
            try await sendChecked(request)
            return
        }
        let part = try PartSizes.copiedSize(for: size)
        let upload = try await MultipartUpload.begin(key, metadata: [metadata], in: self)
        try await upload.finishing {
            let ranges = stride(from: Int64(0), to: size, by: Int(part)).map { $0..<min(size, $0 + part) }
            return try await ranges.enumerated().map { (number: $0 + 1, range: $1) }.mapConcurrently(limit: 4) {
                try await upload.copyPart($0.number, from: source, $0.range)
            }
        }
    }

    /// Bytes that one copy may have.
    private static let largestCopy: Int64 = 5 << 30
}
