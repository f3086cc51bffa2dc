public import BuildCacheBytes
public import BuildCacheCore
import BuildCacheHTTP
import BuildCacheSpec
import Logging
import NIOCore
import NIOHTTP1

extension RegistryRepository {
    /// From so many bytes on, an upload that can go on after a break is worth another request.
    static let resumableSize: Int64 = 16 << 20

    /// Stores a blob unless the registry has it.
    ///
    /// It is mounted from another repository of the registry if it is known to be there, else sent: in one request, or in a session
    /// that goes on where a broken connection left it. The session is opened when the source is.
    ///
    /// - Throws: ``/BuildCacheCore/CacheError`` `.corrupted` if `source` gives other bytes, `.denied`, `.unavailable`, `.storageFull`; what
    ///   `source` throws.
    @discardableResult
    public func put(_ descriptor: Descriptor, from source: any BlobSource) async throws -> PutOutcome {
        try await put(descriptor, from: source, isMissing: false)
    }

    /// - Parameter isMissing: Whether the registry was asked already, and does not have it.
    func put(_ descriptor: Descriptor, from source: any BlobSource, isMissing: Bool) async throws -> PutOutcome {
        do {
            if !isMissing, try await stat(descriptor.digest, at: origin) != nil { return .alreadyPresent }
            let outcome = try await send(descriptor, from: source)
            client.places.add([descriptor.digest], path, origin.domain)
            return outcome
        } catch let failure as SourceFailure {
            throw failure.cause
        } catch let error as CacheError {
            throw error.adding(backend: "registry", operation: "push", subject: "\(descriptor.digest)")
        }
    }

    private func send(_ descriptor: Descriptor, from source: any BlobSource) async throws -> PutOutcome {
        let retries = client.transport.retries()
        var session: UploadSession?
        if let other = client.places.source(of: descriptor, for: path, origin.domain) {
            switch try await mount(descriptor.digest, from: other, retries) {
            case .mounted: return .alreadyPresent
            case .started(let started): session = started
            case .refused: break
            }
        }
        var upload = BlobUpload(
            repository: self, descriptor: descriptor, source: source, retries: retries,
            mode: descriptor.size < RegistryRepository.resumableSize ? .single : origin.profile.upload)
        try await upload.run(session)
        return .written
    }

    // MARK: Sessions

    enum Mount {
        case mounted, refused
        case started(UploadSession)
    }

    /// Asks for a blob of another repository; whoever may not read that is refused, or gets a session to send it.
    private func mount(_ digest: Digest, from other: String, _ retries: Retries) async throws -> Mount {
        let url = try origin.url(path, "blobs/uploads/").adding([("mount", digest.description), ("from", other)])
        do {
            let response = try await client.send(
                OutgoingRequest(.POST, url, headers: ["Content-Length": "0"]), to: origin,
                AuthScopes.push(path).union(.pull(other)), retries: retries)
            switch response.status.code {
            case 201:
                await response.discard()
                return .mounted
            case 200, 202, 204: return .started(try await self.session(response))
            default:
                await response.discard()
                return .refused
            }
        } catch let error as CacheError where error.code == .denied {
            return .refused
        }
    }

    /// Opens an upload.
    func beginUpload(_ retries: Retries) async throws -> UploadSession {
        let request = OutgoingRequest(
            .POST, try origin.url(path, "blobs/uploads/"), headers: ["Content-Length": "0"])
        let response = try await client.send(request, to: origin, .push(path), retries: retries)
        guard [200, 201, 202, 204].contains(response.status.code) else { throw await response.failure().error }
        return try await session(response)
    }

    private func session(_ response: IncomingResponse) async throws -> UploadSession {
        await response.discard()
        guard let location = response.headers.first(name: "Location") else {
            throw CacheError(.unsupported, "\(origin.domain) opens an upload without saying where")
        }
        return UploadSession(
            location: try upgraded(response.url.resolving(location)),
            minimumPart: response.headers.first(name: "OCI-Chunk-Min-Length").flatMap { Int64($0) } ?? 0)
    }

    /// Where an upload stands, `nil` if the registry does not know any more, or cannot tell.
    func resume(_ session: UploadSession, _ retries: Retries) async throws -> UploadSession? {
        do {
            let response = try await send(OutgoingRequest(.GET, session.location), retries: retries)
            guard [200, 202, 204].contains(response.status.code), let range = response.headers.first(name: "Range")
            else {
                await response.discard()
                return nil
            }
            var session = session
            try await session.follow(response, self)
            session.offset = UploadSession.end(range)
            return session
        } catch let error as CacheError {
            // The session may be gone, or the registry for a while: a new session finds out.
            client.transport.logger.debug("an upload cannot go on", metadata: ["error": "\(error)"])
            return nil
        }
    }

    /// Gives an upload up; a registry that does not hear of it forgets it later.
    func cancel(_ session: UploadSession) async {
        guard let response = try? await send(OutgoingRequest(.DELETE, session.location), retries: nil) else { return }
        await response.discard()
    }

    /// Sends a request of a session.
    func send(_ request: OutgoingRequest, retries: Retries?) async throws -> IncomingResponse {
        try await client.send(request, to: origin, .push(path), retries: retries)
    }
}

/// An upload that the registry knows of.
struct UploadSession: Sendable {
    /// Where the next request goes; each answer may name another address.
    var location: ServiceURL
    /// Bytes that the registry has.
    var offset: Int64 = 0
    /// Bytes of a part but the last one, at least.
    var minimumPart: Int64 = 0

    /// Takes over the address that an answer names.
    mutating func follow(_ response: IncomingResponse, _ repository: RegistryRepository) async throws {
        await response.discard()
        if let next = response.headers.first(name: "Location") {
            location = try repository.upgraded(response.url.resolving(next))
        }
    }

    /// How many bytes a `Range` header means, as `0-1023`.
    ///
    /// `0-0` is what registries write for none, too.
    static func end(_ range: String) -> Int64 {
        let last = range.split(separator: "-").last.flatMap { Int64($0) } ?? 0
        return last > 0 ? last + 1 : 0
    }
}

/// One blob on its way into a repository.
private struct BlobUpload {
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
        var error = failure.error
        if failure.code == "BLOB_UPLOAD_UNKNOWN" || failure.code == "BLOB_UPLOAD_INVALID" || isDigestRefused(failure) {
            error.code = .unavailable
            error.retry = .worthwhile
        }
        return error
    }
}
