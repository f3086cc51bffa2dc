@testable import BuildCacheBytes
@testable import BuildCacheCore
@testable import BuildCacheHTTP
@testable import BuildCacheSpec
@testable import BuildCacheTesting
@testable import BuildCacheClient
import Foundation
import NIOCore
import NIOHTTP1
import Synchronization
@testable import TestServers
@testable import TestTools
import Testing

@testable import BuildCacheS3

/// Runs `body` with a bucket of a server that responds with `respond`.
private func withBucket<Value: Sendable>(
    credentials: AWSCredentialSource? = nil, transport: HTTPTransport = .shared,
    _ respond: @escaping @Sendable (ServerRequest) async throws -> ServerResponse,
    _ body: @escaping @Sendable (S3Bucket) async throws -> Value
) async throws -> Value {
    var options = S3Options(bucket: "cache", region: "eu-west-1")
    options.usePathStyle = true
    options.retryMaxAttempts = 1
    let given = options
    let known = AWSCredentialSource.fixed(AWSCredentials(accessKeyID: "id", secretAccessKey: Secret("hunter2")))
    let client = S3Client(credentials: credentials ?? known, environment: .empty, transport: transport)
    return try await withServer(respond) { address in
        var options = given
        options.endpointURL = try ServiceURL("http://\(address)")
        return try await body(try await S3Bucket(options, client: client))
    }
}

@Suite("A hostile service that speaks S3", .timeLimit(.minutes(10)))
struct HostileServiceTests {
    private static let digest = Digest(of: Array("layer".utf8))

    @Test(
        "refuses with any bytes, which end nothing but the request",
        arguments: [
            Array("<Error><?x?></Error>".utf8), Array("<Error><C".utf8) + [0xC8] + Array("/></Error>".utf8),
            Array("<!DOCTYPE Error [<!ENTITY a 'b'>]><Error>&a;</Error>".utf8), [0xFF, 0xFE, 0x3C, 0x00],
            Array(String(repeating: "<Error>", count: 9000).utf8), [], [0],
        ])
    func refusals(_ body: [UInt8]) async throws {
        try await withBucket { _ in
            ServerResponse(403, headers: [("Content-Type", "application/xml")], body: body)
        } _: { bucket in
            let error = await #expect(throws: CacheError.self) {
                try await bucket.reporting("read") { _ = try await bucket.object("name", limit: 1000) }
            }
            #expect(error?.code == .denied)
        }
    }

    @Test("cannot make a list go on for ever, by entries or by pages without any", arguments: [true, false])
    func endlessLists(_ hasEntries: Bool) async throws {
        let pages = Mutex(0)
        var transport = HTTPTransport.shared
        transport.listLimits.entries = 100
        transport.listLimits.pages = 50
        try await withBucket(transport: transport) { request in
            let page = pages.withLock { count in
                count += 1
                return count
            }
            let entry = hasEntries ? "<Contents><Key>k\(page)</Key><Size>1</Size></Contents>" : ""
            let upload = hasEntries ? "<Upload><Key>k\(page)</Key><UploadId>u</UploadId></Upload>" : ""
            let body =
                request.query["uploads"] != nil
                ? "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>\(page)</NextKeyMarker>"
                    + String(repeating: upload, count: 7) + "</ListMultipartUploadsResult>"
                : "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>\(page)</NextContinuationToken>"
                    + String(repeating: entry, count: 7) + "</ListBucketResult>"
            return ServerResponse(200, body: Array(body.utf8))
        } _: { bucket in
            let objects = await #expect(throws: CacheError.self) { try await bucket.objects("k") }
            #expect(objects?.code == .limitExceeded)
            let uploads = await #expect(throws: CacheError.self) { try await bucket.uploads("k") }
            #expect(uploads?.code == .limitExceeded)
        }
        #expect(pages.withLock { $0 } == (hasEntries ? 30 : 100))
    }

    @Test("is an error if a page of its list names itself as the next")
    func sameTokens() async throws {
        let body =
            "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken></ListBucketResult>"
        try await withBucket { _ in
            ServerResponse(200, body: Array(body.utf8))
        } _: { bucket in
            let error = await #expect(throws: CacheError.self) { try await bucket.objects("k") }
            #expect(error?.code == .unsupported)
        }
    }

    @Test(
        "may write any number as a size: the object has it or has none, or the list is refused",
        arguments: OutsideNumbers.texts
    )
    func sizes(_ number: String) async throws {
        let list = "<ListBucketResult><Contents><Key>k</Key><Size>\(number)</Size></Contents></ListBucketResult>"
        // The space around a value is not part of it.
        let isSize = ["0", "1", "2147483648", "4294967296", "1125899906842624", " 1"].contains(number)
        try await withBucket { request in
            request.method == "HEAD"
                ? ServerResponse(
                    200, headers: [("Content-Length", number), ("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT")])
                : ServerResponse(200, body: Array(list.utf8))
        } _: { bucket in
            do {
                let listed = try await bucket.objects("k")
                #expect(isSize && listed["k"] != nil)
            } catch let error as CacheError {
                #expect(!isSize && error.code == .corrupted)
            }
            do {
                let stat = try await bucket.stat(Self.digest)
                #expect(stat.map { (0...Descriptor.maximumSize).contains($0.size) } ?? true)
            } catch let error as CacheError {
                #expect([.unsupported, .unavailable, .limitExceeded].contains(error.code))
            }
        }
    }

    @Test("may have an old object of any size: no number of parts of a copy overflows")
    func copies() throws {
        #expect(try PartSizes.copiedSize(for: 6 << 40) == 1 << 30)
        #expect(try PartSizes.copiedSize(for: 40 << 40) == 4195 << 20)
        for size in [Int64.max, 1 << 50] {
            let error = #expect(throws: CacheError.self) { try PartSizes.copiedSize(for: size) }
            #expect(error?.code == .limitExceeded)
        }
        for size in [Int64.max, 1 << 50, 6 << 40] {
            let error = #expect(throws: CacheError.self) { try PartSizes().size(for: size) }
            #expect(error?.code == .limitExceeded)
        }
    }

    @Test("is not sent a layer that claims more bytes than an object can have")
    func hugeLayer() async throws {
        struct Source: BlobSource {
            func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
                BlobStream(ByteBuffer(string: "layer"))
            }
        }
        let aborted = Mutex(0)
        try await withBucket { request in
            switch request.method {
            case "HEAD": return ServerResponse(404)
            case "POST":
                let id = "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
                return ServerResponse(200, body: Array(id.utf8))
            case "DELETE":
                aborted.withLock { $0 += 1 }
                return ServerResponse(204)
            default: return ServerResponse(200)
            }
        } _: { bucket in
            for size in [Int64.max, 1 << 50] {
                let layer = Descriptor(mediaType: "application/octet-stream", digest: Self.digest, size: size)
                let error = await #expect(throws: CacheError.self) { try await bucket.put(layer, from: Source()) }
                #expect(error?.code == .limitExceeded)
            }
        }
        #expect(aborted.withLock { $0 } == 2)
    }

    @Test("cannot keep an export busy by a condition that no request has")
    func endlessConditions() async throws {
        let puts = Mutex(0)
        let layer = Array("layer".utf8)
        try await withBucket { request in
            guard request.method == "PUT" else { return ServerResponse(404) }
            _ = try await request.bytes()
            let count = puts.withLock { count in
                count += 1
                return count
            }
            return ServerResponse(count < 200 ? 412 : 403)
        } _: { bucket in
            let error = await #expect(throws: CacheError.self) {
                try await bucket.put(
                    Descriptor(mediaType: "application/octet-stream", digest: Self.digest, size: Int64(layer.count)),
                    from: MemorySource([layer]))
            }
            #expect(error?.code != .denied)
        }
        #expect(puts.withLock { $0 } < 10)
    }

    @Test(
        "cannot make a wrong time stay: where its signatures are refused without a date, the clock of this machine counts again"
    )
    func misleadingDate() async throws {
        let requests = Mutex(0)
        try await withBucket { request in
            let count = requests.withLock { count in
                count += 1
                return count
            }
            let now = Timestamp.now().seconds
            if count == 1 {
                return ServerResponse(403, headers: [("Date", Self.httpDate(Date(timeIntervalSinceNow: 7200)))])
            }
            let isTimely = (now - 900...now + 900).contains {
                Timestamp(seconds: $0)?.amazonText == request.headers["x-amz-date"]
            }
            return isTimely
                ? ServerResponse(200, headers: [("Content-Length", "5")])
                : ServerResponse(403, headers: [("Date", "unknown")])
        } _: { bucket in
            _ = try? await bucket.stat(Self.digest)
            let stat = try await bucket.stat(Self.digest)
            #expect(stat?.size == 5)
        }
    }

    private static func httpDate(_ date: Date) -> String {
        let formatter = DateFormatter()
        formatter.locale = Locale(identifier: "en_US_POSIX")
        formatter.timeZone = TimeZone(identifier: "GMT")
        formatter.dateFormat = "EEE, dd MMM yyyy HH:mm:ss 'GMT'"
        return formatter.string(from: date)
    }

    @Test("cannot put a token into an error by repeating it, be it in a response of success or in a header")
    func repeatedTokens() async throws {
        let lent = AWSCredentialSource.fixed(
            AWSCredentials(accessKeyID: "id", secretAccessKey: Secret("s"), sessionToken: Secret("hunter2")))
        for status in [200, 301] {
            try await withBucket(credentials: lent) { request in
                let token = request.headers["x-amz-security-token"] ?? ""
                let body = "<Error><Code>InternalError</Code><Message>no \(token)</Message></Error>"
                return status == 200
                    ? ServerResponse(200, body: Array(body.utf8))
                    : ServerResponse(301, headers: [("x-amz-bucket-region", token)])
            } _: { bucket in
                let layer = Descriptor(mediaType: "application/octet-stream", digest: Self.digest, size: 5)
                let error = await #expect(throws: CacheError.self) {
                    _ = try await bucket.refresh(layer)
                }
                #expect(error?.debugDescription.contains("hunter2") == false)
            }
        }
    }

    @Test("does not lose a layer to a prune by a list that has a name without its size")
    func namesWithoutSize() async throws {
        let server = ObjectServer { request in
            guard request.query["list-type"] != nil, request.query["prefix"] == "manifests/" else { return nil }
            let entry = "<Contents><Key>manifests/buildkit</Key><Size>1.0E3</Size></Contents>"
            return ServerResponse(
                200,
                body: Array("<ListBucketResult><IsTruncated>false</IsTruncated>\(entry)</ListBucketResult>".utf8))
        }
        try await server.run { cache, _ in
            _ = try await cache(ExportOptions(mode: .max)).export(try SampleCache.chain(of: 2))
            let error = await #expect(throws: CacheError.self) {
                let plan = try await cache(ExportOptions()).planPrune(Retention(), now: Self.later)
                #expect(plan.blobs == [])
            }
            #expect(error?.code == .corrupted)
        }
    }

    @Test("does not lose a layer to a prune by a config without the bytes that its list tells of")
    func emptiedConfig() async throws {
        let isEmptied = Mutex(false)
        let server = ObjectServer { request in
            guard isEmptied.withLock({ $0 }), request.method == "GET", request.path.hasSuffix("manifests/buildkit")
            else { return nil }
            return ServerResponse(200)
        }
        try await server.run { cache, _ in
            _ = try await cache(ExportOptions(mode: .max)).export(try SampleCache.chain(of: 2))
            isEmptied.withLock { $0 = true }
            let plan = try await cache(ExportOptions()).planPrune(Retention(), now: Self.later)
            #expect(plan.blobs == [])
            #expect(plan.problems.map(\.kind) == [.unreadableCache, .keptBlobs])
        }
    }

    /// A moment when all that is there now is a month old.
    private static var later: Timestamp { Timestamp(seconds: Timestamp.now().seconds + 30 * 86_400) ?? .zero }

    @Test(
        "is tried as often as AWS_MAX_ATTEMPTS says, if that is a number within bounds",
        arguments: OutsideNumbers.texts + ["1000", "1001", "+1"])
    func attempts(_ number: String) async throws {
        let variables = Environment(["AWS_MAX_ATTEMPTS": number])
        let client = S3Client(environment: variables)
        let options = S3Options(bucket: "cache", region: "eu-west-1")
        guard ["1", "1000", ""].contains(number) else {
            let error = await #expect(throws: CacheError.self) { try await S3Bucket(options, client: client) }
            #expect(error?.code == .invalidSpec)
            return
        }
        #expect(try await S3Bucket(options, client: client).transport.retry.attempts == (Int(number) ?? 3))
    }
}

@Suite("A region", .timeLimit(.minutes(10)))
struct RegionTests {
    static let hostile = [
        "evil.example:7141/", "evil.example", "a/b", "a:1", "a@b", "a?b", "a#b", "a b", "a\n", "ä", "..",
        "eu-west-1/", String(repeating: "a", count: 64),
    ]

    @Test("is checked where it is settled, whatever the endpoint is", arguments: hostile)
    func settled(_ region: String) async throws {
        for endpoint in [nil, "https://s3.example"] {
            var options = S3Options(bucket: "cache", region: region)
            options.endpointURL = try endpoint.map { try ServiceURL($0) }
            for (client, options) in [
                (S3Client(environment: .empty), options),
                (S3Client(environment: Environment(["AWS_REGION": region])), S3Options(bucket: "cache", region: "")),
            ] {
                let error = await #expect(throws: CacheError.self) { try await S3Bucket(options, client: client) }
                #expect(error?.code == .invalidSpec)
                #expect(error?.message.hasPrefix("invalid region ") == true)
            }
        }
    }

    @Test(
        "may be one of another service, which is never part of one of Amazon's hosts",
        arguments: ["US_east", "default", "auto"])
    func others(_ region: String) async throws {
        var options = S3Options(bucket: "cache", region: region)
        options.endpointURL = try ServiceURL("https://minio.example")
        #expect(
            try await S3Bucket(options, client: S3Client(environment: .empty)).endpoint.host == "cache.minio.example")
    }

    @Test(
        "of a spec, a variable or a profile never names the host that gets a token",
        arguments: hostile + ["eu_west", "EU-WEST-1"])
    func tokenService(_ region: String) async throws {
        let folder = NSTemporaryDirectory() + "build-cache-region-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try "hunter2".write(toFile: folder + "/token", atomically: true, encoding: .utf8)
        let config = """
            [profile role]
            role_arn = r
            source_profile = keys
            region = \(region.replacing("\n", with: "%0A"))
            [profile keys]
            aws_access_key_id = id
            aws_secret_access_key = s
            """
        try config.write(toFile: folder + "/config", atomically: true, encoding: .utf8)
        let files = ["AWS_CONFIG_FILE": folder + "/config", "AWS_SHARED_CREDENTIALS_FILE": folder + "/none"]
        let identity = Environment(
            files.merging(["AWS_ROLE_ARN": "r", "AWS_WEB_IDENTITY_TOKEN_FILE": folder + "/token"]) { $1 })
        let profile = Environment(files.merging(["AWS_PROFILE": "role"]) { $1 })
        for chain in [AWSCredentialSource.standard(environment: identity), .standard(environment: profile)] {
            let error = await #expect(throws: CacheError.self) { try await chain.credentials(region: region) }
            #expect(error?.code == .invalidSpec)
            #expect(error?.debugDescription.contains("hunter2") == false)
        }
    }
}

@Suite("A host of S3", .timeLimit(.minutes(10)))
struct HostTests {
    /// Every place of this module where text from outside becomes part of a host, each with the host that it makes of a text.
    private static let places: [(name: String, host: @Sendable (String) async throws -> String)] = [
        ("region of S3", { try S3Endpoint(S3Options(bucket: "c", region: $0), region: $0).host }),
        ("region of a service", { try SecurityTokenService.endpoint($0, EndpointSettings()).host }),
        ("bucket of Amazon", { try S3Endpoint(S3Options(bucket: $0, region: "r"), region: "r").host }),
        (
            "bucket of an endpoint",
            { bucket in
                var options = S3Options(bucket: bucket, region: "r")
                options.endpointURL = try ServiceURL("http://minio.example:9000")
                return try S3Endpoint(options, region: "r").host
            }
        ),
        (
            "path of a container's role",
            { path in
                let environment = Environment([
                    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": path, "AWS_CONTAINER_AUTHORIZATION_TOKEN": "hunter2",
                ])
                return try ContainerCredentials(environment).url()?.host ?? ""
            }
        ),
    ]

    @Test(
        "never becomes another one than the known ones, whatever text is put in front or behind",
        arguments: RegionTests.hostile)
    func hosts(_ text: String) async throws {
        let known = [".amazonaws.com", "minio.example:9000", "169.254.170.2"]
        for (name, host) in Self.places {
            do {
                let host = try await host(text)
                #expect(known.contains { host.hasSuffix($0) } && !host.contains("/"), "\(name): \(host)")
                // A bucket that cannot be part of a host is part of the path.
                if name.hasPrefix("region") { #expect(host.contains(text), "\(name): \(host)") }
            } catch let error as CacheError {
                #expect(error.code == .invalidSpec, "\(name)")
            }
        }
    }

    @Test("of a container's role is not made from a path without a slash, which would take the token elsewhere")
    func containers() async throws {
        for path in [".evil.example/", "@evil.example/", ":7141/"] {
            let variables = [
                "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": path, "AWS_CONTAINER_AUTHORIZATION_TOKEN": "hunter2",
            ]
            let error = await #expect(throws: CacheError.self) {
                try await ContainerCredentials(Environment(variables)).credentials(region: "r")
            }
            #expect(error?.code == .invalidSpec)
            #expect(error?.message.hasPrefix("invalid AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") == true)
        }
    }
}

@Suite("A token for S3", .timeLimit(.minutes(10)))
struct TokenOriginTests {
    private static let lent = AWSCredentialSource.fixed(
        AWSCredentials(accessKeyID: "id", secretAccessKey: Secret("s"), sessionToken: Secret("hunter2")))

    private func code(
        endpoint: String, variables: [String: String] = [:], allowed: CredentialHosts = .none
    ) async throws -> CacheError.Code? {
        var options = S3Options(bucket: "cache", region: "eu-west-1")
        options.endpointURL = try ServiceURL(endpoint)
        options.usePathStyle = true
        options.retryMaxAttempts = 1
        let client = S3Client(credentials: Self.lent, allowedHosts: allowed, environment: Environment(variables))
        let bucket = try await S3Bucket(options, client: client)
        // Nothing listens there, so a request that would be sent is one that cannot connect.
        let error = await #expect(throws: CacheError.self) {
            try await bucket.reporting("read") { _ = try await bucket.object("name", limit: 1) }
        }
        #expect(error?.debugDescription.contains("hunter2") == false)
        return error?.code
    }

    @Test("that is lent is not sent without encryption to a host that only the spec names")
    func sessions() async throws {
        // An address for documentation: nothing is there, and nothing is sent.
        let plain = "http://192.0.2.1:9000"
        #expect(try await code(endpoint: plain) == .denied)
        #expect(try await code(endpoint: plain, variables: ["AWS_ENDPOINT_URL_S3": "http://192.0.2.2:9000"]) == .denied)
        #expect(try await code(endpoint: plain, allowed: ["192.0.2.2"]) == .denied)
        // Sent: to this machine, to a host of the environment, to one that the program allows, and if it is the caller's own.
        let port = try freePort()
        let local = "http://127.0.0.1:\(port)"
        #expect(try await code(endpoint: local) == .unavailable)
        let origin = S3Client(environment: Environment(["AWS_ENDPOINT_URL_S3": plain])).sessionTokens
        #expect(throws: Never.self) { try origin.check(try ServiceURL(plain + "/cache/name"), isAmbient: true) }
        let allowing = S3Client(allowedHosts: ["192.0.2.1"], environment: .empty).sessionTokens
        #expect(throws: Never.self) { try allowing.check(try ServiceURL(plain + "/cache/name"), isAmbient: true) }
    }

    @Test("is not needed by keys, which sign for any endpoint and are not sent")
    func keys() async throws {
        let seen = Mutex<[[String: String]]>([])
        try await withBucket { request in
            seen.withLock { $0.append(request.headers) }
            return ServerResponse(404)
        } _: { bucket in
            let object = try await bucket.object("name", limit: 1)
            #expect(object == nil)
        }
        let headers = try #require(seen.withLock { $0 }.first)
        #expect(headers["authorization"]?.hasPrefix("AWS4-HMAC-SHA256 Credential=id/") == true)
        #expect(headers["x-amz-security-token"] == nil)
        #expect(headers.values.allSatisfy { !$0.contains("hunter2") })
    }

    @Test("of a web identity is not sent without encryption, whatever host the variable names")
    func webIdentity() async throws {
        let file = NSTemporaryDirectory() + "build-cache-token-" + UUID().uuidString
        try "hunter2".write(toFile: file, atomically: true, encoding: .utf8)
        defer { try? FileManager.default.removeItem(atPath: file) }
        let environment = Environment([
            "AWS_ENDPOINT_URL_STS": "http://192.0.2.1", "AWS_ROLE_ARN": "r", "AWS_WEB_IDENTITY_TOKEN_FILE": file,
        ])
        let error = await #expect(throws: CacheError.self) {
            try await WebIdentityCredentials(environment).credentials(region: "eu-west-1")
        }
        #expect(error?.code == .denied)
        #expect(error?.debugDescription.contains("hunter2") == false)
    }

    @Test("with a line break at its end is refused without its value, and not logged", arguments: ["\n", "\r", "\0"])
    func lineBreaks(_ end: String) async throws {
        let lines = LogLines()
        var transport = HTTPTransport.shared
        transport.logger = lines.logger
        let token = AWSCredentialSource.fixed(
            AWSCredentials(accessKeyID: "id", secretAccessKey: Secret("s"), sessionToken: Secret("hunter2" + end)))
        let requests = Mutex(0)
        try await withBucket(credentials: token, transport: transport) { _ in
            requests.withLock { $0 += 1 }
            return ServerResponse(200)
        } _: { bucket in
            let error = await #expect(throws: CacheError.self) {
                try await bucket.reporting("read") { _ = try await bucket.object("name", limit: 1) }
            }
            #expect(error?.code == .invalidSpec)
            #expect(error?.debugDescription.contains("hunter2") == false)
            var dumped = ""
            if let error { dump(error, to: &dumped) }
            #expect(!dumped.contains("hunter2"))
        }
        #expect(requests.withLock { $0 } == 0)
        #expect(lines.all.filter { $0.contains("hunter2") } == [])
        let variables = [
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "hunter2" + end,
        ]
        let error = await #expect(throws: CacheError.self) {
            try await ContainerCredentials(Environment(variables)).credentials(region: "r")
        }
        #expect(error?.code == .invalidSpec)
        #expect(error?.debugDescription.contains("hunter2") == false)
    }
}
