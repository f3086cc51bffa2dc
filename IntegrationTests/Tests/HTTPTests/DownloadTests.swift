@testable import BuildCacheBytes
@testable import BuildCacheCore
import NIOHTTP1
import Synchronization
@testable import TestServers
@testable import TestTools
import Testing

@testable import BuildCacheHTTP

@Suite("A download", .timeLimit(.minutes(10)))
struct DownloadTests {
    /// What is fetched, and what the server does with a range of it.
    private func download(
        _ bytes: [UInt8], range: Range<Int64>? = nil, attempts: Int = 3, log: RequestLog = RequestLog(),
        size: Int? = nil, _ respond: @escaping @Sendable (_ number: Int, _ range: Range<Int>?) -> ServerResponse
    ) async throws -> [UInt8] {
        try await withServer { request in
            respond(log.note(request), request.headers["range"].flatMap(parse))
        } _: { address in
            try await HTTPTransport.forTests(attempts: attempts) { transport, _ in
                let url = try ServiceURL("http://\(address)/blob")
                let download = Download(size: Int64(size ?? bytes.count), retries: { transport.retries() }) { range in
                    var request = OutgoingRequest(.GET, url)
                    if let range {
                        request.headers.add(name: "Range", value: "bytes=\(range.lowerBound)-\(range.upperBound - 1)")
                    }
                    let response = try await transport.sendOnce(request)
                    guard [200, 206].contains(response.status.code) else { throw await response.failure().error }
                    return response
                }
                return try await download.open(range).bytes
            }
        }
    }

    private func part(_ bytes: [UInt8], _ range: Range<Int>?) -> ServerResponse {
        guard let range else { return ServerResponse(200, body: bytes) }
        let headers = [("Content-Range", "bytes \(range.lowerBound)-\(range.upperBound - 1)/\(bytes.count)")]
        return ServerResponse(206, headers: headers, body: Array(bytes[range]))
    }

    @Test("goes on where the connection broke, as long as it gets further")
    func resumes() async throws {
        let (bytes, log) = (pattern(3_000_000), RequestLog())
        let received = try await download(bytes, attempts: 6, log: log) { _, range in
            var response = part(bytes, range)
            response.announcedLength = response.body.count
            response.body = Array(response.body.prefix(400_000))
            return response
        }
        #expect(received == bytes)
        #expect(log.requests.count > 5)
    }

    @Test(
        "of a size that no blob has is an error before anything is asked for",
        arguments: [Int64.min, -1, (1 << 50) + 1, .max])
    func sizes(_ size: Int64) async throws {
        let download = Download(size: size, retries: { HTTPTransport.shared.retries() }) { _ in
            throw CancellationError()
        }
        for range in [nil, Int64(0)..<0, 0..<1, Int64.max - 1..<Int64.max] {
            let error = await #expect(throws: CacheError.self) { try await download.open(range) }
            #expect(error?.code == .corrupted)
        }
    }

    @Test(
        "is an error if a part says that it begins where no part can",
        arguments: ["-1", "+0", "2147483648", "9223372036854775807", "9223372036854775808", "", " 0", "1e3", "NaN"])
    func places(_ place: String) async throws {
        let bytes = pattern(1000)
        let error = await #expect(throws: CacheError.self) {
            try await download(bytes, range: 0..<10) { _, _ in
                ServerResponse(
                    206, headers: [("Content-Range", "bytes \(place)-9/1000")], body: Array(bytes.prefix(10)))
            }
        }
        #expect(error?.code == .corrupted)
    }

    @Test("takes what is missing out of the whole where the server knows no ranges")
    func skips() async throws {
        let bytes = pattern(1_000_000)
        let received = try await download(bytes) { number, _ in
            var response = part(bytes, nil)
            if number == 1 { response.resetAfter = 600_000 }
            return response
        }
        #expect(received == bytes)
    }

    @Test("of many bytes is made of ranges, in order")
    func parallel() async throws {
        let (bytes, log) = (pattern(18 << 20), RequestLog())
        let received = try await download(bytes, log: log) { number, range in
            var response = part(bytes, range)
            if number == 3 { response.resetAfter = 1 << 20 }
            return response
        }
        #expect(received == bytes)
        #expect(log.requests.allSatisfy { $0.headers["range"] != nil })
        #expect(log.requests.count == 6)
    }

    @Test("of a part is that part", arguments: [0..<1, 10..<1000, 999..<1000])
    func ranges(_ range: Range<Int>) async throws {
        let bytes = pattern(1000)
        let wanted = Int64(range.lowerBound)..<Int64(range.upperBound)
        for knowsRanges in [true, false] {
            let received = try await download(bytes, range: wanted) { _, range in
                part(bytes, knowsRanges ? range : nil)
            }
            #expect(received == Array(bytes[range]))
        }
    }

    @Test("ends where the blob does, whatever the server sends after it")
    func cutsOff() async throws {
        let bytes = pattern(5000)
        #expect(try await download(bytes, size: 1000) { _, range in part(bytes, range) } == Array(bytes.prefix(1000)))
    }

    @Test("fails when it gets no further")
    func givesUp() async throws {
        let (bytes, log) = (pattern(1000), RequestLog())
        let error = await #expect(throws: CacheError.self) {
            try await download(bytes, log: log) { _, range in
                var response = part(bytes, range)
                response.announcedLength = response.body.count
                response.body = Array(response.body.prefix(max(0, 500 - (range?.lowerBound ?? 0))))
                return response
            }
        }
        #expect(error?.code == .unavailable)
        #expect(error?.retry == .exhausted)
        #expect(log.requests.count == 3)
    }

    @Test(
        "refuses parts of which nobody knows where they belong",
        arguments: [nil, "bytes 500-999/1000", "bytes x", "items 0-1/2"])
    func refusesParts(_ place: String?) async throws {
        let bytes = pattern(1000)
        let error = await #expect(throws: CacheError.self) {
            try await download(bytes, range: 10..<20) { _, _ in
                ServerResponse(206, headers: place.map { [("Content-Range", $0)] } ?? [], body: Array(bytes[500...]))
            }
        }
        #expect(error?.code == .corrupted)
    }

    @Test("of what is not there fails before anything is read")
    func missing() async throws {
        let error = await #expect(throws: CacheError.self) {
            try await download([1, 2, 3]) { _, _ in ServerResponse(404) }
        }
        #expect(error?.code == .notFound)
    }
}

/// Of `bytes=0-9`.
private func parse(_ text: String) -> Range<Int>? {
    let ends = text.dropFirst(6).split(separator: "-").compactMap { Int($0) }
    return ends.count == 2 ? ends[0]..<ends[1] + 1 : nil
}
