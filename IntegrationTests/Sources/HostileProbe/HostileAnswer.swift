@testable import TestServers

/// One request, as a hostile answer sees it.
struct Exchange: Sendable {
    let request: ServerRequest
    /// Counted from 1, of all requests of a call.
    let number: Int
    /// Another server of this machine, as `host:port`, that must see no secret.
    let other: String
    /// The answer of a server that is as it should be.
    let proper: @Sendable () async throws -> ServerResponse
}

/// One way in which a server can misbehave.
struct HostileAnswer: Sendable {
    /// As in `a server that answers with …`.
    let name: String
    /// Whether a server may say so, so that a call can succeed, or find nothing.
    var isLegal = false
    /// Whether only the time limits of the other side end it.
    var isSlow = false
    /// The response to one request.
    let make: @Sendable (Exchange) async throws -> RawResponse

    init(
        _ name: String, isLegal: Bool = false, isSlow: Bool = false,
        _ make: @escaping @Sendable (Exchange) async throws -> RawResponse
    ) {
        self.name = name
        self.isLegal = isLegal
        self.isSlow = isSlow
        self.make = make
    }

    /// Writes these bytes and closes the connection.
    private init(_ name: String, isLegal: Bool = false, isSlow: Bool = false, _ steps: RawStep...) {
        self.init(name, isLegal: isLegal, isSlow: isSlow) { _ in .raw(steps) }
    }

    /// Answers with a status, headers and a body.
    private init(
        _ name: String, isLegal: Bool = false, _ status: Int, _ headers: [(String, String)] = [],
        _ body: String = "", type: String? = nil
    ) {
        let headers = headers.map { (name: $0.0, value: $0.1) } + (type.map { [("Content-Type", $0)] } ?? [])
        self.init(name, isLegal: isLegal) { _ in
            .proper(ServerResponse(status, headers: headers, body: Array(body.utf8)))
        }
    }

    /// Changes the proper answer.
    private init(changing name: String, _ change: @escaping @Sendable (inout ServerResponse, Exchange) -> Void) {
        self.init(name, isLegal: true) { exchange in
            var response = try await exchange.proper()
            change(&response, exchange)
            return .proper(response)
        }
    }

    /// Answers to a request for a list, and properly to any other.
    private init(listing name: String, _ make: @escaping @Sendable (ListRequest, Exchange) -> ServerResponse) {
        self.init(name, isLegal: true) { exchange in
            if let list = ListRequest(exchange.request) { return .proper(make(list, exchange)) }
            return .proper(try await exchange.proper())
        }
    }

    static let all =
        connections + lengths + statuses + redirects + headers + bodies + challenges + lists
        + proper

    // MARK: Connections

    private static let ok = "HTTP/1.1 200 OK\r\n"
    private static let junk = [UInt8](repeating: UInt8(ascii: "a"), count: 64 << 10)

    private static let connections = [
        HostileAnswer("nothing but the end of the connection", .bytes([])),
        HostileAnswer("nothing but a reset", .reset),
        HostileAnswer("silence", isSlow: true, .silence),
        HostileAnswer("silence within the head", isSlow: true, .text(ok + "Content-Type: app"), .silence),
        HostileAnswer("silence after the head", isSlow: true, .text(ok + "Content-Length: 100\r\n\r\n"), .silence),
        HostileAnswer(
            "a body that trickles", isSlow: true, .text(ok + "Content-Length: 1000000\r\n\r\n"),
            .endless([0x20], pause: .milliseconds(20))),
        HostileAnswer(
            "a head that trickles", isSlow: true, .text(ok + "X: "), .endless([0x20], pause: .milliseconds(20))),
        HostileAnswer("the end after half of a body", .text(ok + "Content-Length: 1000\r\n\r\n" + half)),
        HostileAnswer("a reset after half of a body", .text(ok + "Content-Length: 1000\r\n\r\n" + half), .reset),
        HostileAnswer("a chunk without an end", .text(ok + "Transfer-Encoding: chunked\r\n\r\n1000\r\n" + half)),
        HostileAnswer("a chunk of no valid size", .text(ok + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n" + half)),
        HostileAnswer(
            "a chunk of more bytes than there are",
            .text(ok + "Transfer-Encoding: chunked\r\n\r\n1ffffffffffffffff\r\n" + half)),
        HostileAnswer("a body without an end", .text(ok + "\r\n"), .endless(junk)),
        HostileAnswer(
            "chunks without an end", .text(ok + "Transfer-Encoding: chunked\r\n\r\n"),
            .endless(Array("8000\r\n".utf8) + junk[..<0x8000] + Array("\r\n".utf8))),
        HostileAnswer(
            "interim answers without an end", isSlow: true,
            .endless(Array("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".utf8), pause: .milliseconds(1))),
        HostileAnswer("headers without an end", .text(ok), .endless(Array("X: y\r\n".utf8))),
        HostileAnswer("a status line without an end", .text("HTTP/1.1 200 "), .endless(junk)),
        HostileAnswer(
            "another protocol", .text("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nx")),
        HostileAnswer(
            "the hello of TLS", .bytes([0x16, 3, 1, 0, 5, 1, 0, 0, 1, 3] + [UInt8](repeating: 0, count: 500))),
        HostileAnswer("garbage", .bytes((0..<2000).map { UInt8(truncatingIfNeeded: $0 &* 97 &+ 131) })),
        HostileAnswer("the greeting of another service", .text("SSH-2.0-OpenSSH_9.6\r\n")),
        HostileAnswer("frames of HTTP/2", .bytes([0, 0, 18, 4, 0, 0, 0, 0, 0] + [UInt8](repeating: 0, count: 18))),
        HostileAnswer("a status that is not a number", .text("HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n")),
        HostileAnswer("the status 999", 999),
        HostileAnswer(
            "two answers to one request", isLegal: true,
            .text(ok + "Content-Length: 2\r\n\r\n{}" + ok + "Content-Length: 2\r\n\r\n{}")),
    ]

    private static let half = String(repeating: "x", count: 500)

    // MARK: Lengths

    private static let lengths =
        [
            ("negative", "-1"), ("not a number", "NaN"), ("empty", ""), ("2⁶³", "9223372036854775808"),
            ("2⁶³−1", "9223372036854775807"), ("2⁶⁴", "18446744073709551616"), ("in hexadecimal", "0x10"),
        ].map { name, length in
            HostileAnswer("a length that is \(name)", .text(ok + "Content-Length: \(length)\r\n\r\n" + half))
        } + [
            HostileAnswer("two lengths", .text(ok + "Content-Length: 5\r\nContent-Length: 50\r\n\r\n" + half)),
            HostileAnswer(
                "a length and chunks",
                .text(ok + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}{}{\r\n0\r\n\r\n")),
            HostileAnswer("an empty body", isLegal: true, 200),
        ]

    // MARK: Statuses

    private static let statuses =
        [
            201, 202, 204, 205, 206, 304, 400, 401, 402, 403, 404, 405, 407, 408, 409, 410, 411, 412, 413, 416, 418,
            421, 429, 500, 501, 502, 503, 504, 507, 511,
        ].map { status in
            HostileAnswer(
                "\(status) to everything", isLegal: status < 300 || [404, 409, 410, 412].contains(status), status)
        } + [
            HostileAnswer(
                "success, and an error in its body", isLegal: true, 200, [],
                "<?xml version=\"1.0\"?><Error><Code>InternalError</Code><Message>no</Message></Error>",
                type: "application/xml"),
            HostileAnswer(
                "success, and errors in its body", isLegal: true, 200, [],
                #"{"errors":[{"code":"UNKNOWN","message":"no"}],"error":"no","ok":false}"#, type: "application/json"),
        ]

    // MARK: Redirects

    private static let redirects = [
        HostileAnswer("a redirect to itself") { exchange in
            .proper(ServerResponse(307, headers: [("Location", exchange.request.target)]))
        },
        HostileAnswer("redirects without an end") { exchange in
            .proper(ServerResponse(308, headers: [("Location", "/x/\(exchange.number)?\(exchange.number)")]))
        },
        HostileAnswer("a redirect to another host", isLegal: true) { exchange in
            .proper(ServerResponse(307, headers: [("Location", "http://\(exchange.other)\(exchange.request.path)")]))
        },
        HostileAnswer("a redirect to another host that changes the method", isLegal: true) { exchange in
            .proper(ServerResponse(303, headers: [("Location", "http://\(exchange.other)/x")]))
        },
        HostileAnswer("a redirect to a user of another host", isLegal: true) { exchange in
            .proper(ServerResponse(302, headers: [("Location", "http://a:b@\(exchange.other)/x")]))
        },
        HostileAnswer("a redirect whose address repeats the credentials", isLegal: true) { exchange in
            let headers = exchange.request.headers.filter {
                $0.key.contains("auth") || $0.key.contains("token") || $0.key.contains("x-identity")
            }
            let shown = headers.map { String($0.value.split(separator: " ").last ?? "") }.joined(separator: "/")
            return .proper(ServerResponse(302, headers: [("Location", "https://127.0.0.1:1/\(shown)")]))
        },
        HostileAnswer("a redirect to a file", 307, [("Location", "file:///etc/passwd")]),
        HostileAnswer("a redirect to no address", 307, [("Location", "http://[::1")]),
        HostileAnswer("a redirect to nothing", 307),
        HostileAnswer("a redirect to https where no server speaks it") { exchange in
            .proper(ServerResponse(307, headers: [("Location", "https://\(exchange.request.host)/x")]))
        },
        HostileAnswer("redirects with a body without an end") { exchange in
            .raw([
                .text("HTTP/1.1 307 X\r\nLocation: \(exchange.request.target)\r\n\r\n"), .endless(junk),
            ])
        },
    ]

    // MARK: Headers

    private static let headers = [
        HostileAnswer(
            "a header of a megabyte",
            .text(ok + "X: " + String(repeating: "y", count: 1 << 20) + "\r\nContent-Length: 0\r\n\r\n")),
        HostileAnswer(
            "ten thousand headers",
            .text(ok + (0..<10_000).map { "X-\($0): y\r\n" }.joined() + "Content-Length: 0\r\n\r\n")),
        HostileAnswer(
            "a header with control characters", isLegal: true,
            .text(ok + "X: a\u{1}\u{7f}\u{1b}[31m\r\nContent-Length: 2\r\n\r\n{}")),
        HostileAnswer("a header with a NUL", .text(ok + "X: a\0b\r\nContent-Length: 2\r\n\r\n{}")),
        HostileAnswer(
            "a refusal whose words are control characters", 403, [], "\u{1b}[2J\u{202e}evil\r\nlog: forged\0",
            type: "text/plain"),
        HostileAnswer("Retry-After of 10¹⁸ seconds", 503, [("Retry-After", "1000000000000000000")]),
        HostileAnswer("Retry-After of 10³⁰ seconds", 429, [("Retry-After", "1000000000000000000000000000000")]),
        HostileAnswer("Retry-After of −1", 429, [("Retry-After", "-1")]),
        HostileAnswer("Retry-After until the year 9999", 503, [("Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT")]),
    ]

    // MARK: Bodies

    private static let bodies = [
        HostileAnswer(
            "a login page", isLegal: true, 200, [], "<!DOCTYPE html><html><body><form>Log in</form></body></html>",
            type: "text/html"),
        HostileAnswer("a body that is not UTF-8", isLegal: true) { _ in
            .proper(
                ServerResponse(
                    200, headers: [("Content-Type", "application/json")],
                    body: Array("{\"token\":\"".utf8) + [0xFF, 0xFE, 0xC0] + Array("\"}".utf8)))
        },
        HostileAnswer(
            "deeply nested JSON", isLegal: true, 200, [], String(repeating: "[", count: 200_000),
            type: "application/json"),
        HostileAnswer(
            "JSON nested in its members", isLegal: true, 200, [], String(repeating: #"{"errors":"#, count: 100_000),
            type: "application/json"),
        HostileAnswer(
            "deeply nested XML", isLegal: true, 200, [], String(repeating: "<a>", count: 100_000),
            type: "application/xml"),
        HostileAnswer(
            "the XML that ended a process", isLegal: true, 200, [], "<Error><?x?></Error>", type: "application/xml"),
        HostileAnswer(
            "a refusal in the XML that ended a process", 403, [], "<Error><?x?></Error>", type: "application/xml"),
        HostileAnswer(
            "a refusal in deeply nested JSON", 403, [], String(repeating: "{\"errors\":[", count: 100_000),
            type: "application/json"),
        HostileAnswer(
            "XML with entities of entities", isLegal: true, 200, [],
            "<!DOCTYPE a [<!ENTITY b \"bbbbbbbbbb\"><!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;\">]><a>&c;</a>",
            type: "application/xml"),
        HostileAnswer(
            "JSON with the same keys again", isLegal: true, 200, [],
            #"{"schemaVersion":2,"schemaVersion":3,"token":"a","token":"b","access_token":"a","access_token":"b","tags":["x"],"tags":["y"],"cacheId":1,"cacheId":2,"ok":true,"ok":false,"layers":[],"layers":{}}"#,
            type: "application/json"),
        HostileAnswer(
            "JSON with huge numbers", isLegal: true, 200, [],
            #"{"schemaVersion":1e999,"token":"a","access_token":"a","expires_in":1e999,"expires_on":9223372036854775808,"total_count":18446744073709551616,"cacheId":9223372036854775808,"layers":[{"size":-1,"digest":"sha256:0"}],"entry_id":"99999999999999999999","actions_caches":[{"id":9223372036854775808,"size_in_bytes":-9223372036854775808,"key":"k","version":"v"}]}"#,
            type: "application/json"),
        HostileAnswer(
            "XML with huge numbers", isLegal: true, 200, [],
            "<ListBucketResult><Contents><Key>x</Key><Size>18446744073709551616</Size></Contents></ListBucketResult>",
            type: "application/xml"),
        HostileAnswer("a bomb of gzip", isLegal: true) { _ in
            .proper(
                ServerResponse(
                    200, headers: [("Content-Encoding", "gzip"), ("Content-Type", "application/json")], body: bomb))
        },
        HostileAnswer("a part that was not asked for", isLegal: true, 206, [("Content-Range", "bytes 5-1/3")], "{}"),
        HostileAnswer(
            "a part of a huge whole", isLegal: true, 206,
            [("Content-Range", "bytes 9223372036854775807-9223372036854775808/18446744073709551616")], "{}"),
    ]

    /// 64 MiB of zeros in 420 KB.
    ///
    /// - Source: RFC 1951 §3.2.6, a block of fixed codes: a zero, and again and again 258 bytes from a distance of one.
    private static let bomb: [UInt8] = {
        var bytes: [UInt8] = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3]
        var (bits, count) = (UInt64(0), UInt64(0))
        func put(_ text: String) {
            for character in text {
                if character == "1" { bits |= 1 << count }
                count += 1
                guard count == 8 else { continue }
                bytes.append(UInt8(bits))
                (bits, count) = (0, 0)
            }
        }
        put("110" + "00110000")
        for _ in 0..<260_000 { put("1100010100000") }
        put("0000000" + "0000000")
        return bytes
    }()

    // MARK: Challenges

    private static let challenges =
        [
            ("a challenge without a realm", "Bearer"),
            ("a challenge with an absurd realm", #"Bearer realm="javascript:alert(1)",service="x""#),
            ("a challenge with the realm of a file", #"Bearer realm="file:///etc/passwd",service="x""#),
            (
                "a challenge with the realm of another host, without TLS",
                #"Bearer realm="http://192.0.2.1/token",service="x""#
            ),
            (
                "a challenge with a long realm",
                #"Bearer realm="http://127.0.0.1/\#(String(repeating: "x", count: 60_000))""#
            ),
            ("a challenge without an end", #"Bearer realm="http://127.0.0.1"#),
            ("a thousand challenges", String(repeating: "Bearer realm=\"x\", Basic realm=\"y\", ", count: 1000)),
            (
                "a challenge that asks for other rights",
                #"Bearer realm="http://127.0.0.1:1/token",scope="repository:other:*""#
            ),
        ].map { name, challenge in HostileAnswer(name, 401, [("WWW-Authenticate", challenge)]) } + [
            HostileAnswer("a challenge to begin again, for ever") { exchange in
                .proper(
                    ServerResponse(
                        401,
                        headers: [
                            (
                                "WWW-Authenticate",
                                "Bearer realm=\"http://\(exchange.request.host)/token\",service=\"test\",scope=\"repository:app:pull,push\""
                            )
                        ]))
            }
        ]

    // MARK: Lists

    private static let lists = [
        HostileAnswer(listing: "a list of ever new pages") { list, exchange in list.page(exchange.number, next: nil) },
        HostileAnswer(listing: "a list that is its own next page") { list, _ in list.page(1, next: nil) },
        HostileAnswer(listing: "a list that goes on at another host") { list, exchange in
            list.page(exchange.number, next: "http://\(exchange.other)/v2/app/tags/list?last=x")
        },
        HostileAnswer(listing: "a list that goes on in a file") { list, exchange in
            list.page(exchange.number, next: "file:///etc/passwd")
        },
    ]

    // MARK: Proper answers that are changed

    private static let proper = [
        HostileAnswer(changing: "other bytes of the same number") { response, _ in
            if !response.body.isEmpty { response.body[response.body.count / 2] ^= 0x55 }
        },
        HostileAnswer(changing: "half of the bytes, as if these were all") { response, _ in
            response.body.removeLast(response.body.count / 2)
        },
        HostileAnswer(changing: "all bytes two times") { response, _ in response.body += response.body },
        HostileAnswer(changing: "digests and tags that do not match") { response, _ in
            for index in response.headers.indices
            where ["docker-content-digest", "etag", "content-md5"].contains(response.headers[index].name.lowercased()) {
                response.headers[index].value = "\"sha256:\(String(repeating: "0", count: 64))\""
            }
        },
        HostileAnswer(changing: "another content type") { response, _ in
            response.headers.removeAll { $0.name.lowercased() == "content-type" }
            response.headers.append(("Content-Type", "image/png"))
        },
        HostileAnswer(changing: "a date of the year 9999") { response, _ in
            response.headers.removeAll { ["date", "last-modified"].contains($0.name.lowercased()) }
            response.headers += [
                ("Date", "Fri, 31 Dec 9999 23:59:59 GMT"), ("Last-Modified", "Fri, 31 Dec 9999 23:59:59 GMT"),
            ]
        },
        HostileAnswer(changing: "addresses of another host") { response, exchange in
            let host = exchange.request.host
            for index in response.headers.indices where response.headers[index].value.contains("/") {
                // A token server may be another one than the registry, and gets the password then.
                if response.headers[index].name.lowercased() == "www-authenticate" { continue }
                let value = response.headers[index].value.replacing(host, with: exchange.other)
                response.headers[index].value = value.hasPrefix("/") ? "http://\(exchange.other)\(value)" : value
            }
            let text = String(decoding: response.body, as: UTF8.self)
            if text.contains(host) { response.body = Array(text.replacing(host, with: exchange.other).utf8) }
        },
        HostileAnswer("a refusal that repeats the request") { exchange in
            let lines = exchange.request.headers.map { "\($0.key): \($0.value)" }.joined(separator: "; ")
            let body = String(decoding: try await exchange.request.bytes(upTo: 1000), as: UTF8.self)
            return .proper(
                ServerResponse(
                    400, headers: [("Content-Type", "text/plain")],
                    body: Array("\(exchange.request.target) \(lines) \(body)".utf8)))
        },
    ]
}

/// A request for a list in pages.
enum ListRequest: Sendable {
    case tags, objects, uploads, blobs, entries

    init?(_ request: ServerRequest) {
        if request.path.hasSuffix("/tags/list") {
            self = .tags
        } else if request.query["list-type"] != nil {
            self = .objects
        } else if request.query["uploads"] != nil, request.method == "GET" {
            self = .uploads
        } else if request.query["comp"] == "list" {
            self = .blobs
        } else if request.path.hasPrefix("/repos/"), request.method == "GET" {
            self = .entries
        } else {
            return nil
        }
    }

    /// A page that is not the last; with `next` it names where the next is, if a list of this kind has addresses.
    func page(_ number: Int, next: String?) -> ServerResponse {
        func xml(_ text: String) -> ServerResponse {
            ServerResponse(200, headers: [("Content-Type", "application/xml")], body: Array(text.utf8))
        }
        switch self {
        case .tags:
            let link = next ?? "/v2/app/tags/list?last=\(number)"
            return ServerResponse(
                200, headers: [("Link", "<\(link)>; rel=\"next\"")], json: #"{"name":"app","tags":["t\#(number)"]}"#)
        case .objects:
            return xml(
                "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>\(next ?? "\(number)")"
                    + "</NextContinuationToken><Contents><Key>k\(number)</Key><Size>1</Size></Contents></ListBucketResult>"
            )
        case .uploads:
            return xml(
                "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>\(next ?? "\(number)")</NextKeyMarker>"
                    + "<Upload><Key>k</Key><UploadId>u</UploadId></Upload></ListMultipartUploadsResult>")
        case .blobs:
            return xml(
                "<EnumerationResults><Blobs><Blob><Name>b\(number)</Name><Properties><Content-Length>1</Content-Length>"
                    + "</Properties></Blob></Blobs><NextMarker>\(next ?? "\(number)")</NextMarker></EnumerationResults>"
            )
        case .entries:
            return ServerResponse(
                200, headers: [("Link", "<\(next ?? "http://127.0.0.1:1/x")>; rel=\"next\"")],
                json: #"{"total_count":4000000,"actions_caches":[{"id":\#(number),"key":"k","version":"v"}]}"#)
        }
    }
}
