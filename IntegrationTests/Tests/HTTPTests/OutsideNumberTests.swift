@testable import BuildCacheCore
import NIOHTTP1
@testable import TestServers
@testable import TestTools
import Testing

@testable import BuildCacheHTTP

@Suite("A number from a server or the environment")
struct OutsideNumberTests {
    @Test("that asks for a pause is one of 0 to 2³² seconds, or asks for none", arguments: OutsideNumbers.strange)
    func pauses(_ number: String) {
        let limit = Duration.seconds(Int64(1) << 32)
        let pause = retryAfter(number, now: .zero)
        #expect(pause.map { (.zero...limit).contains($0) } ?? true)
        let isNumber = Int64(decimal: number.trimmingPrefix(" "), in: 0...Int64.max) != nil
        #expect((pause != nil) == isNumber)
        for date in [
            "Sun, \(number) Nov 1994 08:49:37 GMT", "Sun, 06 Nov \(number) 08:49:37 GMT",
            "Sun, 06 Nov 1994 \(number):49:37 GMT",
        ] {
            guard let time = Timestamp(httpDate: date) else { continue }
            #expect((-62_167_305_600...253_402_387_200).contains(time.seconds))
        }
    }

    @Test("that is the length of a document ends in the document or a typed error", arguments: OutsideNumbers.strange)
    func lengths(_ number: String) async throws {
        try await RawServer.run { _ in
            .raw([.text("HTTP/1.1 200 OK\r\nContent-Length: \(number)\r\nConnection: close\r\n\r\n{")])
        } _: { address in
            try await HTTPTransport.forTests(attempts: 1) { transport, _ in
                do {
                    let response = try await transport.send(
                        OutgoingRequest(.GET, try ServiceURL("http://\(address)/")))
                    #expect(response.length.map { (0...Descriptor.maximumSize).contains($0) } ?? true)
                    let bytes = try await response.collect(upTo: 1000)
                    #expect(bytes.count <= 1)
                } catch let error as CacheError {
                    #expect([.unavailable, .unsupported].contains(error.code))
                }
            }
        }
    }

    @Test(
        "that says where a part of a layer begins is an offset, or the part is refused",
        arguments: OutsideNumbers.strange)
    func ranges(_ number: String) async throws {
        try await withServer { _ in
            ServerResponse(
                206, headers: [("Content-Range", "bytes \(number)-\(number)/\(number)")],
                body: [UInt8](repeating: 1, count: 10))
        } _: { address in
            try await HTTPTransport.forTests(attempts: 1) { transport, _ in
                let download = Download(size: 10, retries: { transport.retries() }) { _ in
                    try await transport.sendOnce(OutgoingRequest(.GET, try ServiceURL("http://\(address)/")))
                }
                do {
                    let bytes = try await download.open(0..<10).bytes
                    #expect(number == "0" && bytes.count == 10)
                } catch let error as CacheError {
                    #expect([.corrupted, .unavailable].contains(error.code))
                }
            }
        }
    }

    @Test(
        "of a proxy is a port or the length of a network, or the variable is refused", arguments: OutsideNumbers.strange
    )
    func proxies(_ number: String) throws {
        for variable in ["HTTP_PROXY", "HTTPS_PROXY"] {
            do throws(CacheError) {
                let settings = ProxySettings(Environment([variable: "http://proxy.example:\(number)"]))
                let server = try settings.server(
                    for: ServiceURL("\(variable == "HTTP_PROXY" ? "http" : "https")://a.example/"))
                #expect(server.map { (1...65535).contains($0.port) } ?? true)
            } catch {
                #expect(error.code == .invalidSpec)
            }
        }
        for entry in ["a.example:\(number)", "10.0.0.0/\(number)", "[::1]/\(number)"] {
            let settings = ProxySettings(Environment(["HTTP_PROXY": "http://proxy.example:1", "NO_PROXY": entry]))
            for host in ["a.example", "10.0.0.1"] {
                let server = try settings.server(for: ServiceURL("http://\(host)/"))
                #expect(server == nil || server?.port == 1)
            }
        }
    }
}
