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
        let upload = SharedUpload.ID(repository: path, domain: origin.domain, digest: descriptor.digest)
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
            // Another export may have sent it since the registry was asked.
            let mayBeThere = !isMissing || client.places.contains(descriptor.digest, path, origin.domain)
            if mayBeThere, try await stat(descriptor.digest, at: origin) != nil { return .alreadyPresent }
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

/// What became of a blob that several callers may want to store at once.
struct SharedUpload: Sendable {
    struct ID: Hashable, Sendable {
        var repository: String
        var domain: String
        var digest: Digest
    }
    /// Whoever asks; the first one's source is read.
    final class Caller: Sendable {}

    var caller: Caller
    var result: Result<PutOutcome, any Error>
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
