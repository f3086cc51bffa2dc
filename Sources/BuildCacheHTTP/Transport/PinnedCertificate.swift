package import BuildCacheCore
import NIOCore
import NIOPosix
package import NIOSSL
import Synchronization

extension TLSOptions {
    /// The options to connect to a server with one certain certificate, of any authority and with any name.
    ///
    /// Connects once to see the certificate, sends nothing, and lets later connections trust that certificate and no other.
    ///
    /// - Parameters:
    ///   - url: The server.
    ///   - limit: The longest time that this may take, default 10 seconds.
    ///   - accepts: Whether the certificate is the right one, by its DER encoding.
    /// - Throws: `CacheError` `.denied` if it is not, `.unavailable` if the server does not respond.
    package static func configuration(
        pinning url: ServiceURL, within limit: Duration = .seconds(10), accepts: @escaping @Sendable ([UInt8]) -> Bool
    ) async throws -> TLSConfiguration {
        var configuration = TLSConfiguration.client
        configuration.certificateVerification = .noHostnameVerification
        let certificate: NIOSSLCertificate
        do {
            certificate = try await presentedCertificate(
                of: url, try NIOSSLContext(configuration: configuration), limit, accepts)
        } catch let error as CacheError {
            throw error
        } catch {
            try Task.checkCancellation()
            throw CacheError(connection: error, "the TLS handshake with \(url.origin)")
        }
        configuration.trustRoots = .certificates([certificate])
        return configuration
    }

    private static func presentedCertificate(
        of url: ServiceURL, _ context: NIOSSLContext, _ limit: Duration,
        _ accepts: @escaping @Sendable ([UInt8]) -> Bool
    ) async throws -> NIOSSLCertificate {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let found = loop.makePromise(of: NIOSSLCertificate.self)
        let refused = CacheError(
            .denied, "\(url.origin) has another certificate than the expected one: check the thumbprint")
        let host = url.host.hasPrefix("[") ? String(url.host.dropFirst().dropLast()) : url.host
        let timeout = TimeAmount(limit)
        let channel: any Channel
        do {
            channel = try await ClientBootstrap(group: loop).connectTimeout(timeout)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        let handler = try NIOSSLClientHandler(
                            context: context, serverHostname: nil,
                            customVerificationCallback: { chain, result in
                                guard let leaf = chain.first, let bytes = try? leaf.toDERBytes(), accepts(bytes) else {
                                    found.fail(refused)
                                    return result.succeed(.failed)
                                }
                                found.succeed(leaf)
                                result.succeed(.certificateVerified)
                            })
                        try channel.pipeline.syncOperations.addHandler(handler)
                    }
                }.connect(host: host, port: url.port ?? 443).get()
        } catch {
            found.fail(error)
            throw error
        }
        // Whatever else ends the connection: the server, the time limit, a cancellation.
        channel.closeFuture.whenComplete { _ in found.fail(ChannelError.eof) }
        let timer = channel.eventLoop.scheduleTask(in: timeout) { channel.close(promise: nil) }
        defer {
            timer.cancel()
            channel.close(promise: nil)
        }
        return try await withTaskCancellationHandler {
            try await found.futureResult.get()
        } onCancel: {
            channel.close(promise: nil)
        }
    }
}
