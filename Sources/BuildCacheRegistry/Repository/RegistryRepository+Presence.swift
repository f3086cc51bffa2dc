public import BuildCacheBytes
public import BuildCacheCore
import BuildCacheHTTP
import NIOHTTP1

// Whether blobs are there. HEAD is cheap, and often wrong: registries and proxies are known to answer it with no length, with 0, with the
// length of an error page or of a compressed form, or not at all. So it is believed when it agrees with what is known, or says 404.
extension RegistryRepository {
    /// The size of a blob where it would be read, in bytes; `nil` if it is nowhere.
    ///
    /// - Throws: `CacheError` `.denied`, `.unavailable`; `.unsupported` if the registry does not tell the size of a blob.
    public func stat(_ digest: Digest) async throws -> BlobStat? {
        try await firstOf(servers.readers) { endpoint in try await stat(digest, at: endpoint) }
    }

    private func stat(_ digest: Digest, at endpoint: Endpoint) async throws -> BlobStat? {
        switch try await head(digest, at: endpoint) {
        case .missing: return nil
        case .present(let size?) where size > 0 || digest == Digest(of: []): return BlobStat(size: size)
        case .present: break
        }
        switch try await read(byte: 0, of: digest, at: endpoint) {
        case .missing: return nil
        // An empty blob has no first byte.
        case .present(let size?): return BlobStat(size: size)
        case .tooShort: return BlobStat(size: 0)
        case .present(nil):
            throw CacheError(.unsupported, "the registry \(endpoint.domain) does not tell how large its blobs are")
        }
    }

    /// Whether a blob is there whole, where it would be read.
    ///
    /// A size that contradicts the descriptor's is checked by reading the blob's last byte.
    ///
    /// - Throws: `CacheError` `.denied`, `.unavailable`.
    func holds(_ descriptor: Descriptor) async throws -> Bool {
        try await firstOf(servers.readers) { endpoint in try await holds(descriptor, at: endpoint) ? true : nil }
            ?? false
    }

    /// As ``holds(_:)``, at one endpoint.
    func holds(_ descriptor: Descriptor, at endpoint: Endpoint) async throws -> Bool {
        switch try await head(descriptor.digest, at: endpoint) {
        case .missing: return false
        case .present(let size) where size == descriptor.size: break
        case .present:
            switch try await read(byte: max(0, descriptor.size - 1), of: descriptor.digest, at: endpoint) {
            case .missing: return false
            case .tooShort where descriptor.size > 0: return false
            case .present(let size?) where size != descriptor.size: return false
            case .present, .tooShort: break
            }
        }
        note([descriptor.digest], at: endpoint)
        return true
    }

    // MARK: Questions

    private enum Head {
        case missing
        /// With its size, if the registry tells.
        case present(Int64?)
    }

    private enum Reading {
        case missing, tooShort
        case present(Int64?)
    }

    private func head(_ digest: Digest, at endpoint: Endpoint) async throws -> Head {
        let response = try await send(.HEAD, digest, ["Accept": "*/*", "Accept-Encoding": "identity"], to: endpoint)
        await response.discard()
        switch response.status.code {
        case 404, 410: return .missing
        case 200 where !response.headers.isEncoded: return .present(response.headers.byteCount("Content-Length"))
        // 405 and the like; 403 of a storage whose signed address is good for GET only.
        default: return .present(nil)
        }
    }

    /// Reads one byte of a blob, for the head of the answer.
    private func read(byte position: Int64, of digest: Digest, at endpoint: Endpoint) async throws -> Reading {
        let headers: HTTPHeaders = [
            "Accept": "*/*", "Accept-Encoding": "identity", "Range": "bytes=\(position)-\(position)",
        ]
        let response = try await send(.GET, digest, headers, to: endpoint)
        switch response.status.code {
        case 206 where !response.headers.isEncoded:
            await response.discard()
            return .present(response.headers.totalBytes)
        case 200 where !response.headers.isEncoded:
            // The whole blob is on its way; leaving it costs the connection, reading it may cost gigabytes.
            return .present(response.headers.byteCount("Content-Length"))
        // Encoded bytes are not those of the digest.
        case 200, 206: return .missing
        case 404, 410:
            await response.discard()
            return .missing
        case 416:
            await response.discard()
            return .tooShort
        default: throw await response.failure().error
        }
    }

    private func send(
        _ method: HTTPMethod, _ digest: Digest, _ headers: HTTPHeaders, to endpoint: Endpoint
    ) async throws -> IncomingResponse {
        try await client.send(
            OutgoingRequest(method, try endpoint.url(path, "blobs/\(digest)"), headers: headers), to: endpoint,
            .pull(endpoint.repository(path)), retries: client.transport.retries())
    }
}
