import Foundation
import NIOCore
import NIOPosix
package import NIOSSL
import Synchronization
import TestTools

/// A server that speaks TLS with a certificate of its own, and gives every request the same response.
package struct TLSServer: Sendable {
    /// As in `127.0.0.1:4711`.
    package var address: String
    /// The authority to trust, in PEM.
    package var certificateFile: String
    private let log: RequestHeads

    /// The requests so far, each as it came.
    package var requests: [String] { log.all }

    /// Runs a server for as long as `body` runs; `version` is the one of TLS that it speaks, `nil` for 1.2 and later.
    package static func run<Value: Sendable>(
        _ version: TLSVersion? = nil, responding response: String,
        _ body: (TLSServer) async throws -> Value
    ) async throws -> Value {
        let folder = FileManager.default.temporaryDirectory.appending(path: "tls-\(UUID())").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        _ = try await Tool("openssl").output(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "\(folder)/key.pem", "-out",
            "\(folder)/cert.pem",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost")
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: try NIOSSLCertificate.fromPEMFile("\(folder)/cert.pem").map { .certificate($0) },
            privateKey: .privateKey(try NIOSSLPrivateKey(file: "\(folder)/key.pem", format: .pem)))
        configuration.minimumTLSVersion = version ?? .tlsv12
        configuration.maximumTLSVersion = version
        configuration.cipherSuites = "ALL"
        let context = try NIOSSLContext(configuration: configuration)
        let log = RequestHeads()
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: context))
                    try channel.pipeline.syncOperations.addHandler(Responder(response: response, log: log))
                }
            }.bind(host: "127.0.0.1", port: 0).get()
        do {
            let value = try await body(
                TLSServer(
                    address: "127.0.0.1:\(channel.localAddress?.port ?? 0)", certificateFile: "\(folder)/cert.pem",
                    log: log))
            try await channel.close()
            return value
        } catch {
            try? await channel.close()
            throw error
        }
    }
}

private final class RequestHeads: Sendable {
    private let heads = Mutex<[String]>([])
    var all: [String] { heads.withLock { $0 } }
    func append(_ head: String) { heads.withLock { $0.append(head) } }
}

private final class Responder: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let response: String
    private let log: RequestHeads
    private var received = ""

    init(response: String, log: RequestHeads) {
        self.response = response
        self.log = log
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        received += String(buffer: unwrapInboundIn(data))
        guard received.contains("\r\n\r\n") else { return }
        log.append(received)
        received = ""
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: response)), promise: nil)
        context.close(promise: nil)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
