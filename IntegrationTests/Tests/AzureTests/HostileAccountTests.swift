@testable import BuildCacheBytes
@testable import BuildCacheCore
@testable import BuildCacheHTTP
@testable import BuildCacheSpec
@testable import BuildCacheTesting
@testable import BuildCacheClient
import NIOCore
import Synchronization
@testable import TestServers
@testable import TestTools
import Testing

@testable import BuildCacheAzure

@Suite("A storage account that is not what it seems", .timeLimit(.minutes(10)))
struct HostileAccountTests {
    private static let credentials = AzureCredentials {
        AzureToken(Secret("hunter2"), expires: Timestamp(seconds: 4_102_444_800) ?? .zero)
    }

    /// The error of reading a cache with a token, `nil` for success.
    private func error(
        _ url: String, variables: [String: String] = [:], allowed: CredentialHosts = .none,
        credentials: AzureCredentials = credentials, transport: HTTPTransport = .immediate()
    ) async throws -> CacheError? {
        let client = AzureClient(
            credentials: credentials, allowedHosts: allowed, environment: Environment(variables), transport: transport)
        let options = AzureBlobOptions(accountURL: try ServiceURL(url))
        return try await ScratchStore.withTemporary { scratch in
            do {
                _ = try await AzureBlobCache(options, scratch: scratch, client: client).imported()
                return nil
            } catch let error as CacheError {
                #expect(!error.debugDescription.contains("hunter2"))
                return error
            }
        }
    }

    @Test(
        "gets no token unless it is Azure's, the environment's or allowed",
        arguments: [
            "https://evil.example/", "https://blob.core.windows.net.evil.example/",
            "https://evilblob.core.windows.net/",
            "http://account.blob.core.windows.net/", "https://core.windows.net/",
        ])
    func origins(_ url: String) async throws {
        let error = try await error(url)
        #expect(error?.code == .denied)
        #expect(error?.message.contains("token of Entra ID") == true)
    }

    @Test("gets a token if it is Azure's, the environment's or allowed")
    func places() throws {
        func check(_ url: String, _ client: AzureClient) throws {
            try client.tokenOrigin.check(try ServiceURL(url), isAmbient: true)
        }
        let client = AzureClient(environment: .empty)
        for domain in [
            "blob.core.windows.net", "z01.blob.storage.azure.net", "privatelink.blob.core.windows.net",
            "blob.core.chinacloudapi.cn",
        ] {
            try check("https://account.\(domain)/cache", client)
        }
        let named = Environment(["BUILDKIT_AZURE_STORAGE_ACCOUNT_URL": "https://storage.example/?sig=x"])
        try check("https://storage.example/cache", AzureClient(environment: named))
        try check("https://storage.example/cache", AzureClient(allowedHosts: ["storage.example"], environment: .empty))
    }

    @Test("sees a token when it may, and an account key or a signature anywhere")
    func sends() async throws {
        let seen = Mutex<[String?]>([])
        try await withServer { request in
            seen.withLock { $0.append(request.headers["authorization"]) }
            return ServerResponse(404)
        } _: { address in
            let url = "http://\(address)/account"
            let refused = try await error(url)
            #expect(refused?.code == .denied)
            #expect(seen.withLock { $0 } == [])
            let sent = [
                try await error(url, allowed: ["127.0.0.1"]),
                try await error(url, variables: ["BUILDKIT_AZURE_STORAGE_ACCOUNT_URL": url]),
            ]
            #expect(sent.allSatisfy { $0 == nil })
            #expect(seen.withLock { $0 } == ["Bearer hunter2", "Bearer hunter2"])
            let signed = try await error(url + "?sig=x")
            #expect(signed == nil)
        }
    }

    @Test("sees no token with a line break in it, and no log does", arguments: ["\n", "\r", "\0"])
    func lineBreaks(_ end: String) async throws {
        let lines = LogLines()
        var transport = HTTPTransport.immediate()
        transport.logger = lines.logger
        let logging = transport
        let requests = Mutex(0)
        try await withServer { _ in
            requests.withLock { $0 += 1 }
            return ServerResponse(200)
        } _: { address in
            let credentials = AzureCredentials {
                AzureToken(Secret("hunter2" + end), expires: Timestamp(seconds: 4_102_444_800) ?? .zero)
            }
            let error = try await error(
                "http://\(address)", allowed: .any, credentials: credentials, transport: logging)
            #expect(error?.code == .invalidSpec)
        }
        #expect(requests.withLock { $0 } == 0)
        #expect(lines.all.filter { $0.contains("hunter2") } == [])
    }

    private func withContainer(
        _ limits: ListLimits = ListLimits(),
        _ respond: @escaping @Sendable (ServerRequest) async throws -> ServerResponse,
        _ body: @escaping @Sendable (AzureContainer) async throws -> Void
    ) async throws {
        try await withServer(respond) { address in
            var transport = HTTPTransport.immediate()
            transport.listLimits = limits
            let options = AzureBlobOptions(accountURL: try ServiceURL("http://\(address)/account?sig=x"))
            try await body(AzureContainer(options, BlobRequests(SignedURL(), transport: transport)))
        }
    }

    @Test("cannot make a list go on for ever", arguments: [true, false])
    func endlessLists(_ hasEntries: Bool) async throws {
        var limits = ListLimits()
        (limits.pages, limits.entries) = (50, 20)
        let pages = Mutex(0)
        try await withContainer(limits) { _ in
            let page = pages.withLock { count in
                count += 1
                return count
            }
            let blob = "<Blob><Name>b\(page)</Name><Properties><Content-Length>1</Content-Length></Properties></Blob>"
            let body =
                "<EnumerationResults><Blobs>\(hasEntries ? blob : "")</Blobs><NextMarker>\(page)</NextMarker></EnumerationResults>"
            return ServerResponse(200, body: Array(body.utf8))
        } _: { container in
            let error = await #expect(throws: CacheError.self) { try await container.blobs("b") }
            #expect(error?.code == .limitExceeded)
        }
        #expect(pages.withLock { $0 } == (hasEntries ? 21 : 50))
    }

    @Test(
        "may respond with invalid XML, or with XML that ended the process with Foundation's parser",
        arguments: ["<?x?>", "<C\u{E8}", "<!DOCTYPE a>", ""])
    func documents(_ body: String) async throws {
        try await withContainer { _ in
            ServerResponse(200, body: Array(body.utf8))
        } _: { container in
            let error = await #expect(throws: CacheError.self) { try await container.blobs("b") }
            #expect(error?.code == .corrupted)
        }
    }

    @Test(
        "may write any number as a size: the blob has it or is not there, or the list is refused",
        arguments: OutsideNumbers.texts)
    func sizes(_ number: String) async throws {
        let isSize = ["0", "1", "2147483648", "4294967296", "1125899906842624", " 1"].contains(number)
        try await withContainer { request in
            let blob = "<Blob><Name>b</Name><Properties><Content-Length>\(number)</Content-Length></Properties></Blob>"
            return request.method == "HEAD"
                ? ServerResponse(200, headers: [("Content-Length", number)])
                : ServerResponse(
                    200, body: Array("<EnumerationResults><Blobs>\(blob)</Blobs></EnumerationResults>".utf8))
        } _: { container in
            do {
                let listed = try await container.blobs("b")
                #expect(isSize && listed.count == 1)
            } catch let error as CacheError {
                #expect(!isSize && error.code == .corrupted)
            }
            do {
                let stat = try await container.stat(Digest(of: []))
                #expect(stat.map { (0...Descriptor.maximumSize).contains($0.size) } ?? true)
            } catch let error as CacheError {
                #expect([.unsupported, .unavailable, .limitExceeded].contains(error.code))
            }
        }
    }

    @Test(
        "cannot keep an export busy by a layer that is never removed or renewed, whatever it says of it",
        arguments: ["Archive", "Hot"])
    func endlessLayers(_ tier: String) async throws {
        let requests = Mutex(0)
        let layer = Array("layer".utf8)
        try await withContainer { request in
            _ = try await request.bytes()
            let count = requests.withLock { count in
                count += 1
                return count
            }
            if count > 300 { return ServerResponse(403) }
            switch request.method {
            case "HEAD":
                return ServerResponse(
                    200,
                    headers: [
                        ("Content-Length", "5"), ("ETag", "\"1\""), ("x-ms-access-tier", tier),
                        ("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
                    ])
            case "DELETE": return ServerResponse(202)
            case "PUT" where request.query["comp"] == nil:
                return ServerResponse(409, headers: [("x-ms-error-code", "BlobAlreadyExists")])
            default: return ServerResponse(404)
            }
        } _: { container in
            let digest = Digest(of: layer)
            let error = await #expect(throws: CacheError.self) {
                try await container.put(
                    Descriptor(mediaType: "application/octet-stream", digest: digest, size: 5),
                    from: MemorySource([layer]))
            }
            #expect(error?.code == .busy)
        }
        #expect(requests.withLock { $0 } < 100)
    }

    @Test("does not pass for one that has an archived layer, if it tells the tier without a tag")
    func archivedWithoutTag() async throws {
        let layer = Array("layer".utf8)
        try await withContainer { request in
            _ = try await request.bytes()
            return request.method == "HEAD"
                ? ServerResponse(200, headers: [("Content-Length", "5"), ("x-ms-access-tier", "Archive")])
                : ServerResponse(409, headers: [("x-ms-error-code", "BlobArchived")])
        } _: { container in
            let digest = Digest(of: layer)
            let error = await #expect(throws: CacheError.self) {
                try await container.put(
                    Descriptor(mediaType: "application/octet-stream", digest: digest, size: 5),
                    from: MemorySource([layer]))
            }
            #expect(error?.cause is ArchivedBlob)
        }
    }

    @Test("cannot put a token into an error by repeating it in a header")
    func repeatedTokens() async throws {
        try await withServer { request in
            ServerResponse(403, headers: [("x-ms-error-code", request.headers["authorization"] ?? "")])
        } _: { address in
            let error = try await error("http://\(address)/account", allowed: .any)
            #expect(error?.code == .denied)
        }
    }

    @Test("does not end a list by a page that is not there")
    func missingPages() async throws {
        try await withContainer { request in
            guard request.query["marker"] == nil else { return ServerResponse(404) }
            let blob = "<Blob><Name>b</Name><Properties><Content-Length>1</Content-Length></Properties></Blob>"
            return ServerResponse(
                200,
                body: Array(
                    "<EnumerationResults><Blobs>\(blob)</Blobs><NextMarker>b</NextMarker></EnumerationResults>".utf8))
        } _: { container in
            let error = await #expect(throws: CacheError.self) { try await container.blobs("b") }
            #expect(error?.code == .notFound)
        }
    }

    @Test("gets no layer that claims more bytes than a blob can have", arguments: [Int64.max, 1 << 50, 7 << 40])
    func hugeLayer(_ size: Int64) async throws {
        #expect(try BlockBlob.blockSize(for: 6 << 40) <= 128 << 20)
        let requests = Mutex(0)
        try await withContainer { _ in
            requests.withLock { $0 += 1 }
            return ServerResponse(201)
        } _: { container in
            let blob = try container.blob(named: "b")
            let error = await #expect(throws: CacheError.self) {
                try await blob.put(
                    BlobStream(ByteBuffer(string: "layer")), size: size, .none, retries: HTTPTransport.shared.retries())
            }
            #expect(error?.code == .limitExceeded)
        }
        #expect(requests.withLock { $0 } == 0)
    }
}

@Suite("A token server of Azure", .timeLimit(.minutes(10)))
struct TokenServerTests {
    private static let now = Timestamp(seconds: 1_790_000_000) ?? .zero

    @Test(
        "may write any number as the life of a token: it ends some day, or is asked for again soon",
        arguments: OutsideNumbers.texts)
    func lifetimes(_ number: String) throws {
        for isText in [true, false] {
            for key in ["expires_in", "expires_on"] {
                let value = isText ? "\"\(number)\"" : number
                // Outside of quotes, not every text is JSON.
                if !isText, ["", "NaN"].contains(number) { continue }
                let answer = Array(#"{"access_token":"t","\#(key)":\#(value)}"#.utf8)
                let token = try AzureToken(answer: answer, now: Self.now)
                let known = Int64(number.trimmingPrefix(" "))
                let isPlain = !isText || !number.hasPrefix(" ")
                let seconds = token.expires.seconds
                switch key {
                case "expires_in":
                    let isLife = isPlain && known.map { (0...1 << 32).contains($0) } == true
                    #expect(seconds == Self.now.seconds + (isLife ? known ?? 0 : 600), "\(value)")
                default:
                    let isEnd = isPlain && known.map { (1...253_402_300_799).contains($0) } == true
                    #expect(seconds == (isEnd ? known : Self.now.seconds + 600), "\(value)")
                }
            }
        }
    }

    @Test("cannot send a client's secret or a workload's token to another host by a redirect", arguments: [307, 308])
    func redirects(_ status: Int) async throws {
        let stolen = Mutex(0)
        try await withServer { _ in
            stolen.withLock { $0 += 1 }
            return ServerResponse(200, json: #"{"access_token":"t","expires_in":3600}"#)
        } _: { thief in
            try await withServer { _ in
                ServerResponse(status, headers: [("Location", "http://\(thief)/stolen")])
            } _: { address in
                let environment = Environment([
                    "AZURE_TENANT_ID": "tenant", "AZURE_CLIENT_ID": "client", "AZURE_CLIENT_SECRET": "hunter2",
                    "AZURE_AUTHORITY_HOST": "http://\(address)",
                ])
                let tokens = AzureTokens(.standard(environment: environment), transport: .immediate(), now: { .now() })
                let error = await #expect(throws: CacheError.self) { try await tokens.current() }
                #expect(error?.code == .denied)
                #expect(error?.debugDescription.contains("hunter2") == false)
            }
        }
        #expect(stolen.withLock { $0 } == 0)
    }

    @Test(
        "is at the host that the environment names, with a tenant that is part of its path only",
        arguments: ["../evil", "a/b", "@evil.example", "a?b", "a#b", "a\n"])
    func tenants(_ tenant: String) throws {
        let endpoint = TokenEndpoint(.empty, .shared)
        let error = #expect(throws: CacheError.self) { try endpoint.url(tenant: tenant) }
        #expect(error?.code == .invalidSpec)
        #expect(try endpoint.url(tenant: "tenant.example").host == "login.microsoftonline.com")
        for host in [
            "https://login.example@evil.example", "login.example", "http://login.example", "https://login.example#",
        ] {
            let endpoint = TokenEndpoint(Environment(["AZURE_AUTHORITY_HOST": host]), .shared)
            #expect(throws: CacheError.self) { try endpoint.url(tenant: "t") }
        }
    }

    @Test("of a machine is asked without a redirect of its header", arguments: ["\n", "\r\n"])
    func identityHeader(_ end: String) async throws {
        let environment = Environment(["IDENTITY_ENDPOINT": "http://127.0.0.1:1/", "IDENTITY_HEADER": "hunter2" + end])
        let error = await #expect(throws: CacheError.self) {
            try await ManagedIdentity(environment, .immediate()).token(isExpected: true)
        }
        #expect(error?.code == .invalidSpec)
        #expect(error?.debugDescription.contains("hunter2") == false)
    }
}
