import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// A response of a ``RawServer``: a proper one, or any bytes.
package enum RawResponse: Sendable {
    /// Written as HTTP, and the connection stays open.
    case proper(ServerResponse)
    /// Written step by step, and the connection is closed then.
    case raw([RawStep])
}

/// A step of a response that need not be HTTP.
package enum RawStep: Sendable {
    case bytes([UInt8])
    /// The same bytes until the other side closes the connection, with a pause after each time.
    case endless([UInt8], pause: Duration = .zero)
    /// Nothing until the other side closes the connection.
    case silence
    /// The other side sees a reset.
    case reset

    package static func text(_ text: String) -> RawStep { .bytes(Array(text.utf8)) }
}

/// A server that understands HTTP and need not speak it.
package enum RawServer {
    /// Runs a server on a free port of this machine for as long as `body` runs.
    package static func run<Value: Sendable>(
        _ respond: @escaping @Sendable (ServerRequest) async throws -> RawResponse,
        _ body: (_ address: String) async throws -> Value
    ) async throws -> Value {
        let connections = Connections()
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.backlog, value: 256)
            .childChannelInitializer { channel in
                connections.add(channel)
                return channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandlers([
                        ByteToMessageHandler(HTTPRequestDecoder()), RequestHandler(respond),
                    ])
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let result: Result<Value, any Error>
        do {
            result = .success(try await body("127.0.0.1:\(listener.localAddress?.port ?? 0)"))
        } catch {
            result = .failure(error)
        }
        try? await listener.close()
        connections.close()
        return try result.get()
    }
}

/// The connections of one server, to be closed with it.
private final class Connections: Sendable {
    private let open = Mutex<[ObjectIdentifier: any Channel]?>([:])

    func add(_ channel: any Channel) {
        let isOpen = open.withLock { open in
            open?[ObjectIdentifier(channel)] = channel
            return open != nil
        }
        guard isOpen else { return channel.close(promise: nil) }
        channel.closeFuture.whenComplete { _ in
            self.open.withLock { _ = $0?.removeValue(forKey: ObjectIdentifier(channel)) }
        }
    }

    func close() {
        let left = open.withLock { open in
            defer { open = nil }
            return open.map { Array($0.values) } ?? []
        }
        for channel in left { channel.close(promise: nil) }
    }
}

/// Collects a request and has it answered.
private final class RequestHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart

    private let respond: @Sendable (ServerRequest) async throws -> RawResponse
    private var head: HTTPRequestHead?
    private var body = ByteBuffer()

    init(_ respond: @escaping @Sendable (ServerRequest) async throws -> RawResponse) { self.respond = respond }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            self.head = head
            body.clear()
        case .body(var part): body.writeBuffer(&part)
        case .end:
            guard let head else { return }
            let (channel, request, respond) = (context.channel, ServerRequest(head, body), respond)
            Task {
                do {
                    try await channel.write(try await respond(request), isHead: request.method == "HEAD")
                } catch {
                    // The other side has closed the connection, or is to see that it is closed.
                    channel.close(promise: nil)
                }
            }
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}

extension Channel {
    fileprivate func write(_ response: RawResponse, isHead: Bool) async throws {
        switch response {
        case .proper(let response) where response.resetAfter == 0: try await write([.reset])
        case .proper(let response): try await send(response.encoded(isHead: isHead))
        case .raw(let steps): try await write(steps)
        }
    }

    private func write(_ steps: [RawStep]) async throws {
        for step in steps {
            switch step {
            case .bytes(let bytes): try await send(bytes)
            case .endless(let bytes, let pause):
                while true {
                    try await send(bytes)
                    if pause > .zero { try await ContinuousClock().sleep(for: pause) }
                }
            case .silence: try await closeFuture.get()
            case .reset:
                try? await (self as? any SocketOptionProvider)?.setSoLinger(linger(l_onoff: 1, l_linger: 0)).get()
            }
        }
        try? await close()
    }

    private func send(_ bytes: [UInt8]) async throws { try await writeAndFlush(ByteBuffer(bytes: bytes)).get() }
}

extension ServerResponse {
    /// As it goes over the wire.
    package func encoded(isHead: Bool) -> [UInt8] {
        var text = "HTTP/1.1 \(status) \(HTTPResponseStatus(statusCode: status).reasonPhrase)\r\n"
        let hasBody = status >= 200 && status != 204 && status != 304
        var hasLength = false
        for (name, value) in headers {
            let isLength = name.lowercased() == "content-length"
            if isLength, hasLength || !isHead { continue }
            hasLength = hasLength || isLength
            text += "\(name): \(value)\r\n"
        }
        if hasBody, !hasLength { text += "Content-Length: \(announcedLength ?? body.count)\r\n" }
        return Array((text + "\r\n").utf8) + (isHead || !hasBody ? [] : body)
    }
}
