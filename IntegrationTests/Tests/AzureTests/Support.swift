@testable import BuildCacheAzure
@testable import BuildCacheBytes
@testable import BuildCacheCore
@testable import BuildCacheHTTP
@testable import BuildCacheTestServers
@testable import BuildCacheTesting
@testable import BuildCacheClient
import NIOCore
@testable import TestTools

/// Gives `body` a cache in the container `cache` of a server.
func withCache(
    _ server: AzureBlobServer, _ url: ServiceURL, client: AzureClient? = nil, signed: Bool = true,
    _ body: @escaping @Sendable (AzureBlobCache) async throws -> Void
) async throws {
    try await ScratchStore.withTemporary { scratch in
        var options = server.options(url)
        if !signed { options.secretAccessKey = nil }
        try await body(
            AzureBlobCache(
                options, export: ExportOptions(mode: .max), scratch: scratch,
                client: client ?? AzureClient(transport: .immediate())))
    }
}

extension HTTPTransport {
    /// A transport that does not wait between tries.
    static func immediate() -> HTTPTransport {
        var transport = HTTPTransport.shared
        transport.retryClock = ImmediateClock()
        return transport
    }
}

extension CacheBackend {
    func imported() async throws -> ImportedCache? { try await importCache(progress: .discarded) }
}

extension BlobStream {
    var bytes: [UInt8] {
        get async throws {
            var bytes: [UInt8] = []
            for try await chunk in self { bytes += chunk.readableBytesView }
            return bytes
        }
    }
}
