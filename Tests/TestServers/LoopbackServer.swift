import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// Runs a server on a free port of this machine for as long as `body` runs.
package func withServer<Value: Sendable>(
    _ respond: @escaping @Sendable (ServerRequest) async throws -> ServerResponse,
    _ body: (_ address: String) async throws -> Value
) async throws -> Value {
    try await RawServer.run({ .proper(try await respond($0)) }, body)
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
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(ByteToMessageHandler(HTTPRequestDecoder()))
                    let connection = try NIOAsyncChannel<HTTPServerRequestPart, ByteBuffer>(
                        wrappingChannelSynchronously: channel)
                    connections.run(channel) { await serve(connection, respond) }
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
        await connections.close()
        return try result.get()
    }
}

/// The connections of one server, to be closed with it.
private final class Connections: Sendable {
    private let open = Mutex<[ObjectIdentifier: (channel: any Channel, task: Task<Void, Never>)]?>([:])

    /// Answers the requests of a connection, which is one of those here until they all are.
    func run(_ channel: any Channel, _ serve: @escaping @Sendable () async -> Void) {
        let isOpen = open.withLock { open in
            let task = Task {
                await serve()
                self.open.withLock { _ = $0?.removeValue(forKey: ObjectIdentifier(channel)) }
            }
            open?[ObjectIdentifier(channel)] = (channel, task)
            return open != nil
        }
        if !isOpen { channel.close(promise: nil) }
    }

    /// Closes all of them, and returns when no request is being answered any more.
    func close() async {
        let left = open.withLock { open in
            defer { open = nil }
            return open.map { Array($0.values) } ?? []
        }
        for (channel, task) in left {
            task.cancel()
            channel.close(promise: nil)
        }
        for (_, task) in left { await task.value }
    }
}

/// The parts of the requests of one connection.
actor RequestParts {
    private var iterator: NIOAsyncChannelInboundStream<HTTPServerRequestPart>.AsyncIterator
    private var isInBody = false

    init(_ parts: NIOAsyncChannelInboundStream<HTTPServerRequestPart>) { iterator = parts.makeAsyncIterator() }

    private func next() async throws -> HTTPServerRequestPart? {
        // A copy, because an iterator that is read cannot be a property at the same time; it is the same sequence.
        var iterator = iterator
        return try await iterator.next(isolation: self)
    }

    /// The head of the next request, when what is left of this one has been read; `nil` at the end of the connection.
    ///
    /// Bytes that are not HTTP, such as the first of TLS, get a response of 400.
    func nextHead(refusingOn channel: any Channel) async throws -> HTTPRequestHead? {
        do {
            while try await nextChunk() != nil {}
            guard case .head(let head)? = try await next() else { return nil }
            isInBody = true
            return head
        } catch let error as HTTPParserError {
            try await channel.writeAndFlush(ByteBuffer(bytes: ServerResponse(400).encoded(isHead: false)))
            throw error
        }
    }

    /// The next bytes of the body, `nil` at its end.
    func nextChunk() async throws -> ByteBuffer? {
        guard isInBody, case .body(let chunk)? = try await next() else {
            isInBody = false
            return nil
        }
        return chunk
    }
}

/// Answers the requests of one connection, one after the other.
private func serve(
    _ connection: NIOAsyncChannel<HTTPServerRequestPart, ByteBuffer>,
    _ respond: @Sendable (ServerRequest) async throws -> RawResponse
) async {
    // The other side has closed the connection, or is to see that it is closed.
    try? await connection.executeThenClose { inbound, _ in
        let parts = RequestParts(inbound)
        while let head = try await parts.nextHead(refusingOn: connection.channel) {
            let response = try await respond(ServerRequest(head, parts))
            let steps = response.steps(isHead: head.method == .HEAD)
            for step in steps.list { try await step.perform(on: connection.channel) }
            guard steps.keepsConnection, head.isKeepAlive else { return }
        }
    }
}

extension RawResponse {
    fileprivate func steps(isHead: Bool) -> (list: [RawStep], keepsConnection: Bool) {
        switch self {
        case .raw(let steps): return (steps, false)
        case .proper(let response):
            if response.resetAfter == 0 { return ([.reset], false) }
            let bytes = response.encoded(isHead: isHead)
            if isHead { return ([.bytes(bytes)], true) }
            let headSize = bytes.count - response.body.count
            if let end = response.resetAfter {
                return ([.bytes(Array(bytes.prefix(headSize + end))), .reset], false)
            }
            if let stop = response.stallsAfter {
                return ([.bytes(Array(bytes.prefix(headSize + stop))), .silence], false)
            }
            return ([.bytes(bytes)], (response.announcedLength ?? response.body.count) == response.body.count)
        }
    }
}

extension RawStep {
    /// Writes to the channel itself, which tells when bytes have gone: the writer beside it takes any number that do not go.
    fileprivate func perform(on channel: any Channel) async throws {
        switch self {
        case .bytes(let bytes):
            for start in stride(from: 0, to: bytes.count, by: 64 << 10) {
                try await channel.writeAndFlush(
                    ByteBuffer(bytes: bytes[start..<min(start + 64 << 10, bytes.count)]))
            }
        case .endless(let bytes, let pause):
            while true {
                try await channel.writeAndFlush(ByteBuffer(bytes: bytes))
                if pause > .zero { try await ContinuousClock().sleep(for: pause) }
            }
        case .silence:
            // Until the server closes the connection, or the other side does.
            try await withTaskCancellationHandler {
                try await channel.closeFuture.get()
            } onCancel: {
                channel.close(promise: nil)
            }
        case .reset:
            try? await (channel as? any SocketOptionProvider)?.setSoLinger(linger(l_onoff: 1, l_linger: 0)).get()
            try? await channel.close()
        }
    }
}
