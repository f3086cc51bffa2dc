import NIOCore
import NIOPosix
import Synchronization

/// Passes bytes on to a server of this machine, and its answers back after a pause.
///
/// Small answers come in one piece each, so pieces that begin like one are counted as answers.
final class SlowProxy: Sendable {
    private let channel: any Channel
    private let counter = Counter()

    /// As in `127.0.0.1:4711`.
    var address: String { "127.0.0.1:\(channel.localAddress?.port ?? 0)" }
    /// Answers so far.
    var responses: Int { counter.count.withLock { $0 } }

    init(to address: String, delay: TimeAmount) throws {
        let parts = address.split(separator: ":")
        let (host, port) = (String(parts[0]), Int(parts[1]) ?? 0)
        let counter = counter
        channel = try ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { client in
                client.setOption(.autoRead, value: false).flatMap {
                    ClientBootstrap(group: client.eventLoop).connect(host: host, port: port)
                }.flatMapThrowing { server in
                    try server.pipeline.syncOperations.addHandler(Pass(to: client, after: delay, counter))
                    try client.pipeline.syncOperations.addHandler(Pass(to: server, after: .zero, nil))
                }.flatMap { client.setOption(.autoRead, value: true) }
            }
            .bind(host: "127.0.0.1", port: 0).wait()
    }

    func close() { try? channel.close().wait() }

    private final class Counter: Sendable {
        let count = Mutex(0)
    }

    /// Both channels are on one event loop, so their bytes stay in order.
    private final class Pass: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer

        private let other: any Channel
        private let delay: TimeAmount
        private let counter: Counter?

        init(to other: any Channel, after delay: TimeAmount, _ counter: Counter?) {
            self.other = other
            self.delay = delay
            self.counter = counter
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let bytes = unwrapInboundIn(data)
            if bytes.getString(at: bytes.readerIndex, length: 7) == "HTTP/1." { counter?.count.withLock { $0 += 1 } }
            let other = other
            context.eventLoop.scheduleTask(in: delay) { other.writeAndFlush(bytes, promise: nil) }
        }

        func channelInactive(context: ChannelHandlerContext) {
            let other = other
            context.eventLoop.scheduleTask(in: delay) { other.close(promise: nil) }
        }
    }
}
