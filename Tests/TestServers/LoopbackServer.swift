import Foundation
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// A request as a test's server gets it.
package struct ServerRequest: Sendable {
    package var method: String
    /// Without the query.
    package var path: String
    /// In their order; a name may occur twice.
    package var parameters: [(name: String, value: String)]
    /// The first value of each.
    package var query: [String: String] { Dictionary(parameters.map { ($0.name, $0.value) }) { first, _ in first } }
    /// Path and query as they were sent, which is what signatures are over.
    package var target: String
    /// By lower-case name.
    package var headers: [String: String]
    /// Who was asked, as in `127.0.0.1:4711`.
    package var host: String
    fileprivate var body: RequestBody

    /// A request whose body has arrived.
    init(_ head: HTTPRequestHead, _ body: ByteBuffer) {
        let parts = head.uri.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        method = head.method.rawValue
        path = String(parts[0])
        parameters = (parts.count > 1 ? parts[1] : "").split(separator: "&").map { pair in
            let pair = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map {
                String($0).replacing("+", with: " ").removingPercentEncoding ?? String($0)
            }
            return (pair[0], pair.count > 1 ? pair[1] : "")
        }
        target = head.uri
        headers = [:]
        for (name, value) in head.headers { headers[name.lowercased()] = value }
        host = head.headers.first(name: "Host") ?? ""
        self.body = RequestBody(buffer: body)
    }

    fileprivate init(
        method: String, path: String, parameters: [(name: String, value: String)], target: String,
        headers: [String: String], host: String, body: RequestBody
    ) {
        self.method = method
        self.path = path
        self.parameters = parameters
        self.target = target
        self.headers = headers
        self.host = host
        self.body = body
    }

    /// Reads the body up to `limit` bytes.
    package func bytes(upTo limit: Int = .max) async throws -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(min(limit, headers["content-length"].flatMap { Int($0) } ?? 0))
        for try await chunk in body {
            bytes += chunk.readableBytesView
            if bytes.count >= limit { return Array(bytes.prefix(limit)) }
        }
        return bytes
    }
}

/// What a test's server answers.
package struct ServerResponse: Sendable {
    package var status: Int
    package var headers: [(name: String, value: String)]
    package var body: [UInt8]
    /// Closes the connection after so many bytes of the body, with a reset.
    package var resetAfter: Int?
    /// Announces so many bytes, whatever the body has.
    package var announcedLength: Int?
    /// Stands still before the body ends, until the server does.
    package var stallsAfter: Int?

    package init(_ status: Int, headers: [(name: String, value: String)] = [], body: [UInt8] = []) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    package init(_ status: Int, headers: [(name: String, value: String)] = [], json: String) {
        self.init(status, headers: headers + [("Content-Type", "application/json")], body: Array(json.utf8))
    }

    /// Closes the connection instead of an answer.
    package static let reset: ServerResponse = {
        var response = ServerResponse(0)
        response.resetAfter = 0
        return response
    }()
}

/// Runs a server on a free port of this machine for as long as `body` runs.
package func withServer<Value: Sendable>(
    _ respond: @escaping @Sendable (ServerRequest) async throws -> ServerResponse,
    _ body: @escaping @Sendable (_ address: String) async throws -> Value
) async throws -> Value {
    let (ports, port) = AsyncStream<Int>.makeStream()
    var logger = Logger(label: "test server")
    logger.logLevel = .critical
    let application = Application(
        responder: CallbackResponder<ConnectionContext> { request, context in
            try await answer(request, context, respond)
        },
        configuration: ApplicationConfiguration(address: .hostname("127.0.0.1", port: 0)),
        onServerRunning: { channel in port.yield(channel.localAddress?.port ?? 0) },
        logger: logger)
    return try await withThrowingTaskGroup(of: Value?.self) { group in
        group.addTask {
            try await application.runService(gracefulShutdownSignals: [])
            return nil
        }
        group.addTask {
            for await port in ports {
                let result: Result<Value, any Error>
                do { result = .success(try await body("127.0.0.1:\(port)")) } catch { result = .failure(error) }
                try? await settle(port)
                return try result.get()
            }
            throw CancellationError()
        }
        defer { group.cancelAll() }
        while let value = try await group.next() { if let value { return value } }
        throw CancellationError()
    }
}

/// Returns when a server has taken all connections that were made so far.
///
/// A connection that is on its way when a server is cancelled ends the process: NIO throws its channel away unfinished. Connections are
/// taken in their order, so one more that the server closes, because it asks for nothing that is HTTP, comes behind all others.
private func settle(_ port: Int) async throws {
    let group = MultiThreadedEventLoopGroup.singleton
    let channel = try await ClientBootstrap(group: group).connect(host: "127.0.0.1", port: port).get()
    // A server that does not close it keeps a test waiting for a moment, and no longer.
    let limit = channel.eventLoop.scheduleTask(in: .seconds(5)) { channel.close(promise: nil) }
    try? await channel.writeAndFlush(ByteBuffer(string: "\0\r\n\r\n"))
    try await channel.closeFuture.get()
    limit.cancel()
    for loop in group.makeIterator() { try await loop.submit {}.get() }
}

/// Knows its connection, to break it.
private struct ConnectionContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    let channel: any Channel

    init(source: ApplicationRequestContextSource) {
        coreContext = CoreRequestContextStorage(source: source)
        channel = source.channel
    }

    /// Closes the connection so that the other side sees a reset.
    func reset() async {
        try? await (channel as? any SocketOptionProvider)?.setSoLinger(linger(l_onoff: 1, l_linger: 0)).get()
        try? await channel.close()
    }
}

private struct Broken: Error {}

private func answer(
    _ request: Request, _ context: ConnectionContext,
    _ respond: @Sendable (ServerRequest) async throws -> ServerResponse
) async throws -> Response {
    let parameters = request.uri.queryParameters.map { (name: String($0.key), value: String($0.value)) }
    var headers: [String: String] = [:]
    for field in request.headers { headers[field.name.canonicalName] = field.value }
    let response = try await respond(
        ServerRequest(
            method: request.method.rawValue, path: request.uri.path, parameters: parameters,
            target: request.head.path ?? "/", headers: headers,
            host: request.head.authority ?? "", body: request.body))
    if response.resetAfter == 0 {
        await context.reset()
        throw Broken()
    }
    var fields = HTTPFields()
    for header in response.headers {
        if let name = HTTPField.Name(header.name) { fields.append(HTTPField(name: name, value: header.value)) }
    }
    let announced = response.announcedLength ?? response.body.count
    if request.method == .head {
        if fields[.transferEncoding] == nil { fields[.contentLength] = fields[.contentLength] ?? "\(announced)" }
        return Response(status: .init(code: response.status), headers: fields)
    }
    return Response(
        status: .init(code: response.status), headers: fields,
        body: ResponseBody(contentLength: announced) { writer in
            let end = min(response.resetAfter ?? response.body.count, response.body.count)
            let stop = min(response.stallsAfter ?? end, end)
            for start in stride(from: 0, to: stop, by: 64 << 10) {
                try await writer.write(ByteBuffer(bytes: response.body[start..<min(start + 64 << 10, stop)]))
            }
            if response.stallsAfter != nil { for await _ in AsyncStream<Never>.makeStream().stream {} }
            guard response.resetAfter == nil, announced == response.body.count else {
                if response.resetAfter == nil { try? await context.channel.close() } else { await context.reset() }
                throw Broken()
            }
            try await writer.finish(nil)
        })
}
