import BuildCacheBytes
import BuildCacheCore
import BuildCacheHTTP
import BuildCacheSpec
import NIOCore
import NIOHTTP1

/// One blob on its way into a repository.
struct BlobUpload {
    let repository: RegistryRepository
    let descriptor: Descriptor
    let source: any BlobSource
    let retries: Retries
    var mode: RegistryProfile.Upload
    /// Whether the bytes were verified on their way, all in one go.
    private var isVerified = false

    init(
        repository: RegistryRepository, descriptor: Descriptor, source: any BlobSource, retries: Retries,
        mode: RegistryProfile.Upload
    ) {
        self.repository = repository
        self.descriptor = descriptor
        self.source = source
        self.retries = retries
        self.mode = mode
    }

    /// Sends the blob, however often it takes.
    mutating func run(_ started: UploadSession?) async throws {
        // The source is opened before the session, which would grow old while a slow one gets ready.
        let first = FirstStream(try await source.open(descriptor, range: nil))
        var session = started
        while true {
            do {
                if session == nil { session = try await repository.beginUpload(retries) }
                if let failure = try await attempt(&session, first) {
                    if !adapt(to: failure) { try await retries.pause(after: retryable(failure)) }
                    session = nil
                    continue
                }
                return
            } catch let failure as SourceFailure {
                if let session { await repository.cancel(session) }
                throw failure
            } catch let error as CacheError {
                do { try await retries.pause(after: error) } catch let last {
                    if let session, !Task.isCancelled { await repository.cancel(session) }
                    throw last
                }
                if let broken = session {
                    session = mode == .single ? nil : try await repository.resume(broken, retries)
                    if let offset = session?.offset {
                        if offset > broken.offset { retries.madeProgress() }
                        if offset > descriptor.size { session = nil }
                    }
                }
            }
        }
    }

    /// Sends what the registry does not have yet.
    ///
    /// - Returns: `nil` if it has all of it now, or how it refused.
    /// - Throws: What may pass.
    private mutating func attempt(_ session: inout UploadSession?, _ first: FirstStream) async throws -> HTTPFailure? {
        guard var current = session else { return nil }
        defer { session = current }
        if mode == .single {
            isVerified = true
            return try await finish(current, body: body(0..<descriptor.size, first))
        }
        if current.offset == 0 { isVerified = true }
        while current.offset < descriptor.size {
            var end = descriptor.size
            if case .chunks(let size) = mode {
                end = min(end, current.offset + max(size, current.minimumPart, 1))
            }
            let part = current.offset..<end
            if part != 0..<descriptor.size { isVerified = false }
            let response = try await repository.send(
                OutgoingRequest(
                    .PATCH, current.location,
                    headers: [
                        "Content-Type": "application/octet-stream",
                        "Content-Range": "\(part.lowerBound)-\(part.upperBound - 1)",
                    ], body: body(part, first)), retries: nil)
            guard [200, 201, 202, 204].contains(response.status.code) else { return await response.failure() }
            try await current.follow(response, repository)
            // It may have taken less than it got.
            let taken = response.headers.first(name: "Range").map { UploadSession.end($0) } ?? end
            guard taken > part.lowerBound, taken <= end else {
                throw CacheError(
                    .unavailable, "the registry took a part of the upload and has \(taken) bytes of it",
                    retry: .worthwhile)
            }
            current.offset = taken
            retries.madeProgress()
        }
        return try await finish(current, body: .bytes(ByteBuffer()))
    }

    /// Ends the session: with the whole blob, or with nothing more to send.
    private func finish(_ session: UploadSession, body: OutgoingRequest.Body) async throws -> HTTPFailure? {
        let response = try await repository.send(
            OutgoingRequest(
                .PUT, try session.location.adding([("digest", descriptor.digest.description)]),
                headers: ["Content-Type": "application/octet-stream"], body: body), retries: nil)
        guard [200, 201, 204].contains(response.status.code) else { return await response.failure() }
        await response.discard()
        if let stored = response.headers.contentDigest, stored != descriptor.digest {
            throw CacheError(.corrupted, "the registry stored \(stored) instead")
        }
        return nil
    }

    /// What is sent: verified if it is the whole blob.
    ///
    /// A part is verified by the registry, when it has all of them.
    private func body(_ part: Range<Int64>, _ first: FirstStream) -> OutgoingRequest.Body {
        let isWhole = part == 0..<descriptor.size
        return .stream(length: Int64(part.count)) { [source, descriptor] in
            guard isWhole else { return try await source.open(descriptor, range: part) }
            if let stream = first.take() { return stream.verified(as: descriptor) }
            return try await source.open(descriptor, range: nil).verified(as: descriptor)
        }
    }

    // MARK: Refusals

    /// Goes another way, if there is one that this refusal leaves.
    private mutating func adapt(to failure: HTTPFailure) -> Bool {
        switch mode {
        case .single: return false
        case .resumable where repository.refusesSize(failure): mode = .chunks(RegistryRepository.smallerPart)
        case .resumable where isDigestRefused(failure) && isVerified: return false
        case .chunks where failure.status == 416: mode = .single
        case .resumable where failure.status == 416 || repository.refusesParts(failure): mode = .single
        case .chunks where repository.refusesParts(failure): mode = .single
        default: return false
        }
        return true
    }

    private func isDigestRefused(_ failure: HTTPFailure) -> Bool { failure.code == "DIGEST_INVALID" }

    /// The refusal as an error, worth another try if the session or the way is to blame.
    private func retryable(_ failure: HTTPFailure) -> CacheError {
        let isSessionLost = failure.code == "BLOB_UPLOAD_UNKNOWN" || failure.code == "BLOB_UPLOAD_INVALID"
        return isSessionLost || isDigestRefused(failure) ? failure.error.passing : failure.error
    }
}
