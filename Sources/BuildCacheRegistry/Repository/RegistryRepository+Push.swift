public import BuildCacheBytes
public import BuildCacheCore
import BuildCacheHTTP
import Logging
import NIOCore
import NIOHTTP1

extension RegistryRepository {
    /// Stores a blob unless the registry has it.
    ///
    /// It is mounted from another repository of the registry if it is known to be there, else sent: in one request, or in a session
    /// that goes on where a broken connection left it. The session is opened when the source is.
    ///
    /// - Throws: `CacheError` `.corrupted` if `source` gives other bytes, `.denied`, `.unavailable`, `.storageFull`; what
    ///   `source` throws.
    @discardableResult
    public func put(_ descriptor: Descriptor, from source: any BlobSource) async throws -> PutOutcome {
        try await put(descriptor, from: source, isMissing: false)
    }

    /// - Parameter isMissing: Whether the registry was asked already, and does not have it.
    func put(_ descriptor: Descriptor, from source: any BlobSource, isMissing: Bool) async throws -> PutOutcome {
        // Several exports at once often have the same layers. Sending one twice is waste, and registries that keep files are
        // known to trip over it.
        let upload = SharedUpload.ID(repository: path, domain: domain, digest: descriptor.digest)
        let caller = SharedUpload.Caller()
        while true {
            let shared = try await client.uploads.value(for: upload) {
                do {
                    let outcome = try await store(descriptor, from: source, isMissing: isMissing)
                    return SharedUpload(caller: caller, result: .success(outcome))
                } catch {
                    return SharedUpload(caller: caller, result: .failure(error))
                }
            }
            if shared.caller === caller { return try shared.result.get() }
            // Where another's upload failed, ours need not: its source may be to blame.
            if case .success = shared.result { return .alreadyPresent }
        }
    }

    private func store(
        _ descriptor: Descriptor, from source: any BlobSource, isMissing: Bool
    ) async throws -> PutOutcome {
        do {
            try servers.requirePush()
            guard descriptor.size >= 0 else {
                throw CacheError(.corrupted, "invalid size \(descriptor.size) of a blob: expected 0 or more bytes")
            }
            // Another export may have sent it since the registry was asked.
            let mayBeThere = !isMissing || client.places.contains(descriptor.digest, path, domain)
            if mayBeThere, try await holds(descriptor, at: origin) { return .alreadyPresent }
            let outcome = try await send(descriptor, from: source)
            client.places.add([descriptor.digest], path, domain)
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
        if let other = client.places.source(
            of: descriptor, for: path, domain, named: servers.mountSources)
        {
            switch try await mount(descriptor.digest, from: other, retries) {
            case .mounted: return .alreadyPresent
            case .started(let started): session = started
            case .refused: break
            }
        }
        var upload = BlobUpload(
            repository: self, descriptor: descriptor, source: source, retries: retries,
            mode: uploadMode(for: descriptor.size))
        try await upload.run(session)
        if let lesson = upload.lesson { client.noteUpload(lesson, at: domain) }
        return .written
    }

    /// The way to send a blob of this size: the one that the registry took after a refusal, else that of its profile.
    private func uploadMode(for size: Int64) -> RegistryProfile.Upload {
        switch client.upload(at: domain) {
        case .chunks(let part)?: size > part ? .chunks(part) : .single
        case let learned?: learned
        case nil: size < client.resumableSize ? .single : origin.profile.upload
        }
    }

    // MARK: Sessions

    enum Mount {
        case mounted, refused
        case started(UploadSession)
    }

    /// Asks for a blob of another repository.
    ///
    /// The registry refuses, or opens a session to send the blob, if it does not have the blob there or this process may not read it.
    private func mount(_ digest: Digest, from other: String, _ retries: Retries) async throws -> Mount {
        let url = try origin.url(path, "blobs/uploads/").adding([
            ("mount", digest.description), ("from", origin.repository(other)),
        ])
        do {
            let response = try await client.send(
                OutgoingRequest(.POST, url, headers: ["Content-Length": "0"]), to: origin,
                AuthScopes.push(origin.repository(path)).union(.pull(origin.repository(other))), retries: retries)
            switch response.status.code {
            case 201:
                await response.discard()
                // A registry that names another blob has not understood what it was asked for.
                let stored = response.headers.contentDigest
                return stored == nil || stored == digest ? .mounted : .refused
            case 200, 202, 204: return .started(try await self.session(response))
            default:
                await response.discard()
                return .refused
            }
        } catch let error as CacheError where [.denied, .unsupported, .rejected, .corrupted].contains(error.code) {
            return .refused
        }
    }

    /// Opens an upload.
    func beginUpload(_ retries: Retries) async throws -> UploadSession {
        let request = OutgoingRequest(
            .POST, try origin.url(path, "blobs/uploads/"), headers: ["Content-Length": "0"])
        let response = try await client.send(request, to: origin, .push(origin.repository(path)), retries: retries)
        guard [200, 201, 202, 204].contains(response.status.code) else {
            let failure = await response.failure()
            throw nameRefusal(failure) ?? failure.error
        }
        return try await session(response)
    }

    private func session(_ response: IncomingResponse) async throws -> UploadSession {
        await response.discard()
        guard let location = response.headers.first(name: "Location") else {
            throw CacheError(.unsupported, "\(domain) opens an upload without saying where")
        }
        return UploadSession(
            location: try upgraded(response.url.resolving(location)),
            minimumPart: response.headers.byteCount("OCI-Chunk-Min-Length") ?? 0)
    }

    /// The session with the offset that the registry has now; `nil` if the registry does not know the session any more, or cannot tell.
    ///
    /// - Parameter size: The bytes of the whole blob.
    func resume(_ session: UploadSession, _ size: Int64, _ retries: Retries) async throws -> UploadSession? {
        do {
            let response = try await send(OutgoingRequest(.GET, session.location), retries: retries)
            guard [200, 202, 204].contains(response.status.code), let last = response.headers.lastReceivedByte,
                let offset = UploadSession.offset(lastByte: last, of: size)
            else {
                await response.discard()
                return nil
            }
            var session = session
            try await session.follow(response, self)
            session.offset = offset
            return session
        } catch let error as CacheError {
            // The session may be gone, or the registry for a while: a new session finds out.
            client.transport.logger.debug("an upload cannot go on", metadata: ["error": "\(error)"])
            return nil
        }
    }

    /// Ends an upload without a result; a registry that does not hear of it forgets the upload later.
    func cancel(_ session: UploadSession) async {
        guard let response = try? await send(OutgoingRequest(.DELETE, session.location), retries: nil) else { return }
        await response.discard()
    }

    /// Sends a request of a session.
    func send(_ request: OutgoingRequest, retries: Retries?) async throws -> IncomingResponse {
        try await client.send(request, to: origin, .push(origin.repository(path)), retries: retries)
    }
}

/// The result of storing a blob, shared by all callers that want to store it at once.
struct SharedUpload: Sendable {
    struct ID: Hashable, Sendable {
        var repository: String
        var domain: String
        var digest: Digest
    }
    /// A caller; the source of the first one is read.
    final class Caller: Sendable {}

    var caller: Caller
    var result: Result<PutOutcome, any Error>
}

/// An upload that the registry knows of.
struct UploadSession: Sendable {
    /// The address of the next request; each answer may name another one.
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

    /// The offset after a part that the registry accepted.
    ///
    /// The registry keeps less than it got only if it says so beyond doubt. Some count one byte too many, some count from the beginning
    /// of the part, and some write nothing: to all of them the part is there, and the digest at the end decides.
    ///
    /// - Parameters:
    ///   - part: The bytes that were sent.
    ///   - last: The last byte that the answer names, `nil` if it names none.
    static func offset(after part: Range<Int64>, lastByte last: Int64?) -> Int64 {
        guard let last, last + 1 > part.lowerBound, last + 1 < part.upperBound else { return part.upperBound }
        let isRelative = part.lowerBound > 0 && (last + 1 == part.count || last == part.count)
        return isRelative ? part.upperBound : last + 1
    }

    /// The offset of an upload whose state the registry was asked for.
    ///
    /// - Returns: `nil` for an offset beyond the end of the blob, by more than the one byte that some count too many.
    static func offset(lastByte last: Int64, of size: Int64) -> Int64? {
        // `0-0` is what registries write for no bytes, too.
        guard last > 0 else { return 0 }
        return last > size ? nil : min(last + 1, size)
    }
}
