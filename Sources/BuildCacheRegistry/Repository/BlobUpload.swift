import BuildCacheBytes
import BuildCacheCore
import BuildCacheHTTP
import NIOCore
import NIOHTTP1

/// One blob on its way into a repository.
///
/// An upload ends. Every session that is thrown away counts as a try, and tries are counted from the beginning only when the registry
/// keeps ``progressSize`` bytes more than in any session before; the pauses between them have the budget of the retry policy. The way of
/// sending changes at most five times, never back: in a session that can go on, in ever smaller parts, in one request.
struct BlobUpload {
    /// Bytes that a registry must keep beyond all that it kept before, for the count of tries to begin again.
    static let progressSize: Int64 = 1 << 20
    /// Bytes of a part to try where a request is too large, less than the usual limits of proxies.
    static let partSizes: [Int64] = [16 << 20, 4 << 20, 1 << 20]

    let repository: RegistryRepository
    let descriptor: Descriptor
    let source: any BlobSource
    let retries: Retries
    private(set) var mode: RegistryProfile.Upload
    /// The mode that the registry should be sent the next blob in, `nil` if this upload tells nothing about it.
    private(set) var lesson: RegistryProfile.Upload?
    private var triedModes: Set<RegistryProfile.Upload>
    /// The most bytes that the registry kept of this blob when tries were last counted from the beginning.
    private var furthest: Int64 = 0

    init(
        repository: RegistryRepository, descriptor: Descriptor, source: any BlobSource, retries: Retries,
        mode: RegistryProfile.Upload
    ) {
        self.repository = repository
        self.descriptor = descriptor
        self.source = source
        self.retries = retries
        self.mode = mode
        triedModes = [mode]
    }

    /// Sends the blob, with as many sessions as the bounds allow.
    ///
    /// - Parameter started: A session that a mount which was not possible has opened.
    mutating func run(_ started: UploadSession?) async throws {
        // The source is opened before the session, which would grow old while a slow one gets ready.
        let first = FirstStream(try await source.open(descriptor, range: nil))
        var session = started
        while true {
            do {
                if session == nil { session = try await repository.beginUpload(retries) }
                guard let failure = try await attempt(&session, first) else { return }
                if let refused = session { await repository.cancel(refused) }
                let minimumPart = session?.minimumPart ?? 0
                session = nil
                if !adapt(to: failure, minimumPart) { try await retries.pause(after: retryable(failure)) }
            } catch let failure as SourceFailure {
                if let session { await repository.cancel(session) }
                throw failure
            } catch let error as CacheError {
                do { try await retries.pause(after: error) } catch let last {
                    if let session, !Task.isCancelled { await repository.cancel(session) }
                    // A registry may answer parts with a 5xx that does not pass: one request is the last resort.
                    guard furthest == 0, (last as? CacheError)?.retry == .exhausted, change(to: .single) else {
                        throw last
                    }
                    lesson = mode
                    session = nil
                    continue
                }
                if let broken = session {
                    session = mode == .single ? nil : try await repository.resume(broken, descriptor.size, retries)
                    if let session { noteProgress(session.offset) }
                }
            }
        }
    }

    /// Sends what the registry does not have yet.
    ///
    /// - Returns: `nil` if it has all of it now, or how it refused.
    /// - Throws: `CacheError` worth another try.
    private mutating func attempt(_ session: inout UploadSession?, _ first: FirstStream) async throws -> HTTPFailure? {
        guard var current = session else { return nil }
        defer { session = current }
        guard mode != .single else { return try await finish(current, body: body(0..<descriptor.size, first)) }
        while current.offset < descriptor.size {
            var length = descriptor.size - current.offset
            if case .chunks(let size) = mode { length = min(length, max(size, current.minimumPart, 1)) }
            let part = current.offset..<current.offset + length
            let response = try await repository.send(
                OutgoingRequest(
                    .PATCH, current.location,
                    headers: [
                        "Content-Type": "application/octet-stream",
                        "Content-Range": "\(part.lowerBound)-\(part.upperBound - 1)",
                    ], body: body(part, first)), retries: nil)
            guard [200, 201, 202, 204].contains(response.status.code) else { return await response.failure() }
            try await current.follow(response, repository)
            current.offset = UploadSession.offset(after: part, lastByte: response.headers.lastReceivedByte)
            noteProgress(current.offset)
            if current.offset < part.upperBound {
                try await retries.pause(
                    after: CacheError(
                        .unavailable,
                        "the registry took \(part.count) bytes of an upload and kept \(current.offset - part.lowerBound)",
                        retry: .worthwhile))
            }
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

    /// The bytes of a request: verified if they are the whole blob.
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

    /// Counts tries from the beginning if the registry keeps enough bytes that no session before kept.
    private mutating func noteProgress(_ offset: Int64) {
        guard offset > furthest, offset - furthest >= BlobUpload.progressSize || offset == descriptor.size else {
            return
        }
        furthest = offset
        retries.madeProgress()
    }

    // MARK: Refusals

    /// Chooses another way of sending, if this refusal leaves one.
    private mutating func adapt(to failure: HTTPFailure, _ minimumPart: Int64) -> Bool {
        if repository.refusesSize(failure) {
            var sent = descriptor.size
            if case .chunks(let size) = mode { sent = min(sent, max(size, minimumPart)) }
            guard let size = BlobUpload.partSizes.first(where: { $0 < sent && $0 >= minimumPart }),
                change(to: .chunks(size))
            else { return false }
            lesson = mode
            return true
        }
        // The parts were put together wrongly, which says nothing about the next blob.
        if isDigestRefused(failure) { return change(to: .single) }
        guard mode != .single, failure.status == 416 || repository.refusesParts(failure), change(to: .single) else {
            return false
        }
        lesson = mode
        return true
    }

    /// Takes a way of sending that was not tried yet.
    private mutating func change(to other: RegistryProfile.Upload) -> Bool {
        guard triedModes.insert(other).inserted else { return false }
        mode = other
        return true
    }

    private func isDigestRefused(_ failure: HTTPFailure) -> Bool { failure.code == "DIGEST_INVALID" }

    /// The refusal as an error, worth another try if the session or the way is to blame.
    private func retryable(_ failure: HTTPFailure) -> CacheError {
        let isSessionLost = failure.code == "BLOB_UPLOAD_UNKNOWN" || failure.code == "BLOB_UPLOAD_INVALID"
        return isSessionLost || isDigestRefused(failure) ? failure.error.passing : failure.error
    }
}
