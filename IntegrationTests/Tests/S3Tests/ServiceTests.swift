@testable import BuildCacheBytes
@testable import BuildCacheCore
@testable import BuildCacheGraph
@testable import BuildCacheHTTP
@testable import BuildCacheOCI
@testable import BuildCacheSpec
@testable import BuildCacheTesting
@testable import BuildCacheClient
import Foundation
import NIOHTTP1
import Synchronization
@testable import TestServers
import Testing

@testable import BuildCacheS3

@Suite("A service that speaks S3", .timeLimit(.minutes(10)))
struct ServiceTests {
    /// Runs `body` with a bucket of a server that answers with `respond`.
    private func withBucket<Value: Sendable>(
        credentials: AWSCredentialSource? = nil,
        options: S3Options = S3Options(bucket: "cache", region: "eu-west-1"),
        _ respond: @escaping @Sendable (ServerRequest) async throws -> ServerResponse,
        _ body: @escaping @Sendable (S3Bucket) async throws -> Value
    ) async throws -> Value {
        try await withServer(respond) { address in
            var options = options
            options.endpointURL = try ServiceURL("http://\(address)")
            options.usePathStyle = true
            var transport = HTTPTransport.shared
            transport.retry = RetryPolicy(firstPause: .milliseconds(1), longestPause: .milliseconds(2))
            let known = AWSCredentialSource.fixed(AWSCredentials(accessKeyID: "id", secretAccessKey: Secret("hunter2")))
            return try await body(
                try await S3Bucket(
                    options,
                    client: S3Client(credentials: credentials ?? known, environment: .empty, transport: transport)))
        }
    }

    private static func xml(_ status: Int, _ code: String, headers: [(name: String, value: String)] = [])
        -> ServerResponse
    {
        ServerResponse(status, headers: headers, body: Array("<Error><Code>\(code)</Code></Error>".utf8))
    }

    // MARK: Compare and swap

    @Test("is not trusted to swap if it ignores conditions on writes: nothing is overwritten, and the probe is removed")
    func ignoresConditions() async throws {
        let requests = Mutex<[String]>([])
        try await withBucket { request in
            requests.withLock { $0.append("\(request.method) \(request.target)") }
            return ServerResponse(request.method == "DELETE" ? 204 : 200)
        } _: { bucket in
            for _ in 0..<2 {
                let error = await #expect(throws: CacheError.self) {
                    try await Self.store(bucket).publish(Self.draft("ours"), as: "name")
                }
                #expect(error?.code == .unsupported)
            }
        }
        // One probe for all, and nothing but the probe.
        let all = requests.withLock { $0 }
        #expect(all.map { $0.prefix { $0 != " " } } == ["PUT", "DELETE"])
        #expect(all.allSatisfy { $0.contains("/cache/manifests/name.probe-") })
    }

    @Test("is asked again when another writer was faster, and keeps the cache of that one, too")
    func swaps() async throws {
        let theirs = try Self.draft("theirs").documents().config.bytes
        let state = Mutex((bytes: [UInt8](), version: 1, writes: 0))
        try await withBucket { request in
            guard request.method == "PUT" else {
                let (bytes, version) = state.withLock { ($0.bytes, $0.version) }
                return ServerResponse(200, headers: [("ETag", "\"\(version)\"")], body: bytes)
            }
            let body = try await request.bytes()
            return state.withLock { state in
                state.writes += 1
                // Another writer writes between our read and our first write.
                if state.writes == 2 { (state.bytes, state.version) = (theirs, 2) }
                guard request.headers["if-match"] == "\"\(state.version)\"" else {
                    return Self.xml(412, "PreconditionFailed")
                }
                (state.bytes, state.version) = (body, state.version + 1)
                return ServerResponse(200)
            }
        } _: { bucket in
            let published = try await Self.store(bucket).publish(Self.draft("ours"), as: "name")
            #expect(published.root.digest == Digest(of: state.withLock { $0.bytes }))
        }
        let graph = try LayerGraph(decodingConfig: state.withLock { $0.bytes }, layers: .annotated)
        var both = try SampleCache.diamond("ours").graph
        try both.merge(try SampleCache.diamond("theirs").graph)
        #expect(graph.recordCount == both.recordCount && graph.descriptors.count == both.descriptors.count)
    }

    private static func store(_ bucket: S3Bucket) -> S3Store {
        S3Store(bucket: bucket, cacheNames: ["name"], limits: CacheConfigLimits(), use: .export)
    }

    private static func draft(_ name: String) throws -> CacheDraft {
        CacheDraft(
            try SampleCache.diamond(name).graph, form: .config, export: ExportOptions(writePolicy: .merge),
            limits: CacheConfigLimits())
    }

    // MARK: Trying again

    /// Gives another key each time it is asked.
    private final class Renewing: Sendable {
        private let asked = Mutex(0)
        var count: Int { asked.withLock { $0 } }
        var source: AWSCredentialSource { AWSCredentialSource { _ in self.next() } }

        private func next() -> AWSCredentials {
            let number = asked.withLock { count in
                count += 1
                return count
            }
            return AWSCredentials(accessKeyID: "key\(number)", secretAccessKey: Secret("s"), sessionToken: Secret("t"))
        }
    }

    @Test("is shown new credentials once, when it says that the old ones have expired")
    func expired() async throws {
        let provider = Renewing()
        try await withBucket(credentials: provider.source) { request in
            request.headers["authorization"]?.contains("key2") == true
                ? ServerResponse(200, body: Array("x".utf8)) : Self.xml(400, "ExpiredToken")
        } _: { bucket in
            for _ in 0..<2 {
                let object = try await bucket.object("a", limit: 10)
                #expect(object == Array("x".utf8))
            }
            #expect(provider.count == 2)
        }
        let error = try await withBucket(credentials: Renewing().source) { _ in
            Self.xml(400, "ExpiredToken")
        } _: { bucket in
            await #expect(throws: CacheError.self) {
                try await bucket.reporting("read") { _ = try await bucket.object("a", limit: 10) }
            }
        }
        #expect(error?.code == .denied)
        #expect(error?.message.contains("the credentials have expired") == true)
        #expect(error?.retry == .never)
    }

    @Test("is asked again while it is busy, as often as retry_max_attempts says", arguments: [1, 2, 5])
    func busy(_ attempts: Int) async throws {
        let count = Mutex(0)
        var options = S3Options(bucket: "cache", region: "eu-west-1")
        options.retryMaxAttempts = attempts
        let error = try await withBucket(options: options) { _ in
            count.withLock { $0 += 1 }
            return Self.xml(503, "SlowDown")
        } _: { bucket in
            await #expect(throws: CacheError.self) {
                try await bucket.reporting("read") { _ = try await bucket.object("a", limit: 10) }
            }
        }
        #expect(count.withLock { $0 } == attempts)
        #expect(error?.code == .unavailable)
        #expect(error?.message.contains("SlowDown") == true)
    }

    @Test("is asked three times where nobody says how often, and as often as AWS_MAX_ATTEMPTS")
    func attempts() async throws {
        var options = S3Options(bucket: "cache", region: "r")
        func attempts(_ variables: [String: String]) async throws -> Int {
            try await S3Bucket(options, client: S3Client(environment: Environment(variables))).transport.retry.attempts
        }
        #expect(try await attempts([:]) == 3)
        #expect(try await attempts(["AWS_MAX_ATTEMPTS": "7"]) == 7)
        await #expect(throws: CacheError.self) { try await attempts(["AWS_MAX_ATTEMPTS": "many"]) }
        options.retryMaxAttempts = 4
        #expect(try await attempts(["AWS_MAX_ATTEMPTS": "7"]) == 4)
    }

    @Test("says where a bucket is that is not here")
    func elsewhere() async throws {
        let error = try await withBucket { _ in
            Self.xml(301, "PermanentRedirect", headers: [("x-amz-bucket-region", "us-west-2")])
        } _: { bucket in
            await #expect(throws: CacheError.self) {
                try await bucket.reporting("read") { _ = try await bucket.object("a", limit: 10) }
            }
        }
        #expect(error?.code == .invalidSpec)
        #expect(error?.message.contains("set region=us-west-2") == true)
    }

    @Test("may say that it failed after it said that it did not")
    func lateError() async throws {
        let count = Mutex(0)
        let descriptor = SampleLayer("a").descriptor
        try await withBucket { request in
            guard request.method == "PUT" else { return ServerResponse(404) }
            #expect(request.headers["x-amz-copy-source"] == "cache/blobs/sha256%3A\(descriptor.digest.hex)")
            #expect(request.headers["x-amz-metadata-directive"] == "REPLACE")
            return count.withLock { count in
                count += 1
                return count == 1
                    ? Self.xml(200, "InternalError") : ServerResponse(200, body: Array("<CopyObjectResult/>".utf8))
            }
        } _: { bucket in
            #expect(bucket.isStale(BlobStat(size: descriptor.size, modifiedAt: Timestamp(seconds: 0))))
            #expect(!bucket.isStale(BlobStat(size: descriptor.size, modifiedAt: .now())))
            #expect(!bucket.isStale(BlobStat(size: descriptor.size, modifiedAt: nil)))
            let outcome = try await bucket.refresh(descriptor)
            #expect(outcome == .refreshed)
            #expect(count.withLock { $0 } == 2)
        }
    }

    // MARK: Headers

    @Test(
        "is told what to do if the layer is there, if it is known to understand that", arguments: ["MinIO", "nobody"])
    func conditions(_ server: String) async throws {
        let conditions = Mutex<[String?]>([])
        let layer = SampleLayer("a")
        try await withBucket { request in
            let header = [("Server", server)]
            if request.method == "GET" { return ServerResponse(200, headers: header, body: Array("x".utf8)) }
            if request.method == "HEAD" {
                return ServerResponse(200, headers: header + [("Content-Length", "\(layer.descriptor.size)")])
            }
            #expect(request.headers["x-amz-content-sha256"] == layer.descriptor.digest.hex)
            let body = try await request.bytes()
            #expect(body == layer.stored)
            conditions.withLock { $0.append(request.headers["if-none-match"]) }
            return request.headers["if-none-match"] == nil
                ? ServerResponse(200, headers: header) : Self.xml(412, "PreconditionFailed")
        } _: { bucket in
            _ = try await bucket.object("anything", limit: 10)
            let outcome = try await bucket.upload(
                layer.descriptor, from: MemorySource([layer.stored]), replacing: false)
            #expect(outcome == (server == "MinIO" ? .alreadyPresent : .written))
            #expect(conditions.withLock { $0 } == [server == "MinIO" ? "*" : nil])
            // What is to be replaced must not be kept.
            let replaced = try await bucket.upload(
                layer.descriptor, from: MemorySource([layer.stored]), replacing: true)
            #expect(replaced == .written)
        }
    }

    @Test("signs Accept-Encoding unless it was told not to", arguments: [false, true])
    func acceptEncoding(_ isDisabled: Bool) async throws {
        var options = S3Options(bucket: "cache", region: "eu-west-1")
        options.disableAcceptEncoding = isDisabled
        try await withBucket(options: options) { request in
            #expect((request.headers["accept-encoding"] == "identity") == !isDisabled)
            let signed = request.headers["authorization"]?.contains("accept-encoding") == true
            return ServerResponse(signed == !isDisabled ? 200 : 400, body: Array("x".utf8))
        } _: { bucket in
            let object = try await bucket.object("a", limit: 10)
            #expect(object != nil)
        }
    }

    @Test("never shows a secret in what goes wrong")
    func secrets() async throws {
        let error = try await withBucket { _ in
            Self.xml(403, "SignatureDoesNotMatch")
        } _: { bucket in
            await #expect(throws: CacheError.self) {
                try await bucket.reporting("read") { _ = try await bucket.object("a", limit: 10) }
            }
        }
        #expect(try #require(error).debugDescription.contains("hunter2") == false)
    }

    // MARK: Lists

    /// A bucket of so many layers, which are listed in pages of a thousand, in order or not.
    private final class Listed: Sendable {
        let keys: [String]
        let isSorted: Bool
        let lists = Mutex(0)
        let heads = Mutex(0)

        init(_ digests: [Digest], isSorted: Bool) {
            keys = digests.map { "blobs/\($0)" }.sorted()
            self.isSorted = isSorted
        }

        func respond(_ request: ServerRequest) -> ServerResponse {
            guard request.method == "GET" else {
                heads.withLock { $0 += 1 }
                let key = request.path.replacing("/cache/", with: "").replacing("%3A", with: ":")
                return ServerResponse(keys.contains(key) ? 200 : 404, headers: [("Content-Length", "7")])
            }
            lists.withLock { $0 += 1 }
            let after = request.query["start-after"] ?? ""
            let limit = request.query["max-keys"].flatMap { Int($0) } ?? 1000
            let rest = keys.filter { $0 > after }
            let page = Array(rest.prefix(limit))
            let rows = (isSorted ? page : page.reversed()).map {
                "<Contents><Key>\($0)</Key><Size>7</Size><LastModified>2026-01-02T03:04:05.678Z</LastModified></Contents>"
            }
            return ServerResponse(
                200,
                body: Array(
                    "<ListBucketResult><IsTruncated>\(rest.count > page.count)</IsTruncated>\(rows.joined())</ListBucketResult>"
                        .utf8))
        }
    }

    @Test(
        "is asked for lists where these tell more than asking for each layer",
        arguments: [
            // There, wanted of these, wanted of others; lists and single questions at most.
            (0, 0, 50, 1, 0), (200, 200, 0, 1, 0), (200, 0, 1, 1, 0), (900, 10, 10, 1, 0), (5000, 4000, 1000, 9, 0),
            (20_000, 5, 0, 1, 5),
        ])
    func lists(_ there: Int, _ wanted: Int, _ absent: Int, _ lists: Int, _ heads: Int) async throws {
        let digests = (0..<there).map { Digest(of: "\($0)".utf8) }
        let others = (0..<absent).map { Digest(of: "absent \($0)".utf8) }
        for isSorted in there <= 5000 ? [true, false] : [true] {
            let service = Listed(digests, isSorted: isSorted)
            try await withBucket {
                service.respond($0)
            } _: { bucket in
                let found = try await bucket.find(Array(digests.prefix(wanted)) + others)
                #expect(Set(found.keys) == Set(digests.prefix(wanted)))
                #expect(found.values.allSatisfy { $0.size == 7 })
            }
            #expect(service.lists.withLock { $0 } <= lists + (isSorted ? 0 : 4))
            // In no order, a page tells what is there and nothing of what is not.
            if isSorted { #expect(service.heads.withLock { $0 } <= heads) }
        }
    }
}
