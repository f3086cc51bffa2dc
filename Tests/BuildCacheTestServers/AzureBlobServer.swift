import BuildCacheAzure
public import BuildCacheCore
import BuildCacheHTTP
import Foundation
import NIOHTTP1
import Synchronization
package import TestServers

/// A storage account in this process, for tests: its blobs in memory, and as strict as Azure about signatures, blocks and conditions.
///
/// ```swift
/// try await AzureBlobServer().run { server, url in
///     let options = AzureBlobOptions(accountURL: url, accountName: server.account, secretAccessKey: server.key)
///     …
/// }
/// ```
///
/// What it knows: containers, block blobs in one piece and in blocks, ranges, conditions, lists in pages; Shared Key, shared access
/// signatures of accounts, containers and blobs, and tokens that a test names.
///
/// - Source: Azure Storage REST API, "Blob service".
public final class AzureBlobServer: Sendable {
    /// The account's name.
    public let account: String
    /// The account's key, in base64.
    public let key: Secret<String>
    /// What goes wrong.
    public let faults: ServerFaults
    let storage = BlobStorage()
    let signer: BlobSignature
    private let isPathStyle: Bool
    private let tokens = Mutex<Set<String>>([])

    /// Makes an account without containers.
    ///
    /// - Parameters:
    ///   - account: Its name.
    ///   - isPathStyle: Whether URLs begin with the account, as those of emulators do.
    ///   - faults: What goes wrong, and when.
    public init(
        account: String = "devaccount", isPathStyle: Bool = true, faults: ServerFaults = ServerFaults()
    ) throws(CacheError) {
        self.account = account
        self.isPathStyle = isPathStyle
        self.faults = faults
        let bytes = (0..<64).map { _ in UInt8.random(in: .min ... .max) }
        key = Secret(String(decoding: Base64.encode(bytes), as: UTF8.self))
        signer = BlobSignature(key: try SharedKey(account: account, key: key))
    }

    /// Runs the server on a free port of this machine for as long as `body` runs.
    public func run<Value: Sendable>(
        _ body: @escaping @Sendable (AzureBlobServer, _ url: ServiceURL) async throws -> Value
    ) async throws -> Value {
        try await withServer { request in
            try await self.faults.respond(to: request) { request in try await self.respond(to: request) }
        } _: { address in
            try await body(self, try ServiceURL("http://\(address)\(self.isPathStyle ? "/\(self.account)" : "")"))
        }
    }

    // MARK: What is stored

    /// From now on takes this token, as from Entra ID.
    public func accept(token: String) { tokens.withLock { _ = $0.insert(token) } }
    /// From now on does not take this token any more.
    public func reject(token: String) { tokens.withLock { _ = $0.remove(token) } }

    /// The names of all blobs of a container, `nil` if it is not there.
    public func names(in container: String) -> [String]? { try? storage.blobs(in: container).map(\.name) }

    /// The bytes of a blob, `nil` if it is not there.
    public func bytes(_ name: String, in container: String) -> [UInt8]? {
        try? storage.blob(name, in: container).bytes
    }

    /// Stores a blob past all checks, and makes the container.
    public func put(_ bytes: [UInt8], as name: String, in container: String) {
        try? storage.createContainer(container)
        _ = try? storage.put(bytes, name, in: container, now: faults.now)
    }

    /// Makes a blob look as if it had been written so many seconds ago.
    public func age(_ name: String, in container: String, seconds: Int64) {
        guard let time = Timestamp(seconds: faults.now.seconds - seconds) else { return }
        _ = try? storage.setMetadata([:], name, in: container, BlobStorage.Conditions(), now: time)
    }

    /// Moves a blob to the archive tier, as a lifecycle rule does.
    public func archive(_ name: String, in container: String) { storage.archive(name, in: container) }

    /// Removes a blob, as somebody might who cleans up.
    public func remove(_ name: String, in container: String) { try? storage.delete(name, in: container) }

    /// A URL of a blob that lets whoever has it do `permissions`, as `r` or `cw`.
    public func signedURL(
        _ name: String, in container: String, permissions: String, expires: Timestamp, base: ServiceURL
    ) throws(CacheError) -> ServiceURL {
        let path = name.split(separator: "/").map { String($0).percentEncoded }.joined(separator: "/")
        return try ServiceURL("\(base.base)/\(container)/\(path)").adding(
            signer.parameters(container: container, blob: name, permissions: permissions, expires: expires))
    }

    /// The URL of the account with a signature that lets whoever has it do `permissions` in one container.
    public func signedURL(
        container: String, permissions: String, expires: Timestamp, base: ServiceURL
    ) throws(CacheError) -> ServiceURL {
        try base.adding(
            signer.parameters(container: container, blob: nil, permissions: permissions, expires: expires))
    }

    // MARK: Answering

    /// What a request is about.
    private struct Place {
        var container: String
        var blob: String?
    }

    /// Answers a request, whatever ``faults`` say.
    package func respond(to request: ServerRequest) async throws -> ServerResponse {
        do {
            guard let place = place(request.path) else { throw BlobStorage.Refusal(400, "InvalidUri") }
            // A body may be large, and whoever may not send it should not wait for it to arrive.
            let isAllowed = Result { () throws(BlobStorage.Refusal) in try authorize(request, place) }
            if case .failure(let refusal) = isAllowed {
                _ = try await request.bytes()
                throw refusal
            }
            return try await answer(request, place)
        } catch let refusal as BlobStorage.Refusal {
            let body =
                "\u{FEFF}<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>\(refusal.code)</Code>"
                + "<Message>The test server refuses this: \(refusal.code).</Message></Error>"
            return ServerResponse(
                refusal.status,
                headers: [("x-ms-error-code", refusal.code), ("Content-Type", "application/xml")] + common,
                body: refusal.status == 304 ? [] : Array(body.utf8))
        }
    }

    private var common: [(name: String, value: String)] {
        [("x-ms-version", "2024-11-04"), ("x-ms-request-id", "00000000-0000-0000-0000-000000000000")]
    }

    private func place(_ path: String) -> Place? {
        var parts = path.split(separator: "/", maxSplits: isPathStyle ? 3 : 2, omittingEmptySubsequences: false)
            .dropFirst().map(String.init)
        if isPathStyle {
            guard parts.first == account else { return nil }
            parts.removeFirst()
        }
        let blob = parts.dropFirst().joined(separator: "/").percentDecoded
        return Place(container: parts.first ?? "", blob: blob.isEmpty ? nil : blob)
    }

    // MARK: Who may

    private func authorize(_ request: ServerRequest, _ place: Place) throws(BlobStorage.Refusal) {
        let refused = BlobStorage.Refusal(403, "AuthenticationFailed")
        if let header = request.headers["authorization"] {
            guard request.headers["x-ms-version"] != nil else {
                throw BlobStorage.Refusal(400, "MissingRequiredHeader")
            }
            if header.hasPrefix("Bearer ") {
                let token = String(header.dropFirst(7))
                guard tokens.withLock({ $0.contains(token) }) else {
                    throw BlobStorage.Refusal(401, "InvalidAuthenticationInfo")
                }
                return
            }
            guard let url = try? ServiceURL("http://\(request.host)\(request.target)") else { throw refused }
            var headers = HTTPHeaders()
            for (name, value) in request.headers { headers.add(name: name, value: value) }
            guard isTimely(request.headers["x-ms-date"] ?? request.headers["date"]) else { throw refused }
            let length = request.headers["content-length"].flatMap { Int64($0) } ?? 0
            let expected = signer.key.authorization(HTTPMethod(rawValue: request.method), url, headers, length: length)
            guard header == expected.exposed else { throw refused }
        } else if request.query["sig"] != nil {
            do {
                try signer.check(
                    request.query, container: place.container, blob: place.blob,
                    permission: permission(for: request, place), now: faults.now)
            } catch {
                switch error {
                case .invalid, .expired: throw refused
                case .notPermitted: throw BlobStorage.Refusal(403, "AuthorizationPermissionMismatch")
                }
            }
        } else {
            throw BlobStorage.Refusal(401, "NoAuthenticationInformation")
        }
    }

    /// Whether a request was signed within a quarter of an hour.
    private func isTimely(_ date: String?) -> Bool {
        guard let date, let pause = date.split(separator: " ").last, pause == "GMT" else { return false }
        // Most are of this very second, so that is where to begin.
        let now = faults.now.seconds
        return (0...900).contains { offset in
            [now - offset, now + offset].contains { Timestamp(seconds: $0)?.httpDate == date }
        }
    }

    /// The letters of which a signature must have one.
    private func permission(for request: ServerRequest, _ place: Place) -> String {
        switch (request.method, request.query["comp"]) {
        case ("GET", "list"): "l"
        case ("GET", _), ("HEAD", _): "r"
        case ("DELETE", _): "d"
        case ("PUT", "metadata"): "w"
        case ("PUT", _) where place.blob == nil: "cw"
        default: "cwa"
        }
    }

    // MARK: Operations

    private func answer(_ request: ServerRequest, _ place: Place) async throws -> ServerResponse {
        let component = request.query["comp"]
        guard let blob = place.blob else {
            _ = try await request.bytes()
            return try answer(request, container: place.container, component)
        }
        switch (request.method, component) {
        case ("PUT", "block"):
            guard let id = request.query["blockid"], let raw = Base64.decode(id.utf8), raw.count <= 64 else {
                throw BlobStorage.Refusal(400, "InvalidQueryParameterValue")
            }
            try storage.putBlock(id, try await body(of: request), blob, in: place.container)
            return ServerResponse(201, headers: common)
        case ("PUT", "blocklist"):
            let bytes = try await body(of: request)
            guard let list = BlockListDocument.read(bytes) else { throw BlobStorage.Refusal(400, "InvalidXmlDocument") }
            let stored = try storage.putBlockList(
                list, blob, in: place.container,
                contentType: request.headers["x-ms-blob-content-type"] ?? "application/octet-stream",
                metadata: metadata(of: request), conditions(of: request), now: faults.now)
            return ServerResponse(201, headers: common + facts(stored))
        case ("PUT", nil):
            let bytes = try await body(of: request)
            guard request.headers["x-ms-blob-type"] == "BlockBlob" else {
                throw BlobStorage.Refusal(400, "InvalidHeaderValue")
            }
            let type = request.headers["x-ms-blob-content-type"] ?? request.headers["content-type"]
            let stored = try storage.put(
                bytes, blob, in: place.container, contentType: type ?? "application/octet-stream",
                metadata: metadata(of: request), conditions(of: request), now: faults.now)
            return ServerResponse(201, headers: common + facts(stored))
        case ("GET", "blocklist"): return try blockList(blob, in: place.container, request.query["blocklisttype"])
        case ("GET", nil), ("HEAD", nil): return try read(blob, in: place.container, request)
        case ("PUT", "metadata"):
            _ = try await request.bytes()
            let stored = try storage.setMetadata(
                metadata(of: request), blob, in: place.container, conditions(of: request), now: faults.now)
            return ServerResponse(200, headers: common + facts(stored))
        case ("DELETE", nil):
            try storage.delete(blob, in: place.container, conditions(of: request))
            return ServerResponse(202, headers: common)
        default: throw BlobStorage.Refusal(400, "InvalidQueryParameterValue")
        }
    }

    private func answer(
        _ request: ServerRequest, container: String, _ component: String?
    ) throws(BlobStorage.Refusal) -> ServerResponse {
        if container.isEmpty {
            guard request.method == "GET", component == "list" else { throw BlobStorage.Refusal(400, "InvalidUri") }
            return listContainers()
        }
        guard request.query["restype"] == "container" else { throw BlobStorage.Refusal(400, "InvalidUri") }
        switch (request.method, component) {
        case ("PUT", nil):
            let isName = container.allSatisfy { ($0.isASCII && $0.isLowercase) || $0.isNumber || $0 == "-" }
            guard (3...63).contains(container.count), isName else {
                throw BlobStorage.Refusal(400, "InvalidResourceName")
            }
            try storage.createContainer(container)
            return ServerResponse(201, headers: common + [("ETag", "\"0x0\""), ("Last-Modified", faults.now.httpDate)])
        case ("GET", nil), ("HEAD", nil):
            guard storage.hasContainer(container) else { throw BlobStorage.Refusal(404, "ContainerNotFound") }
            return ServerResponse(200, headers: common + [("ETag", "\"0x0\""), ("Last-Modified", faults.now.httpDate)])
        case ("DELETE", nil):
            try storage.deleteContainer(container)
            return ServerResponse(202, headers: common)
        case ("GET", "list"): return try list(container, request.query)
        default: throw BlobStorage.Refusal(400, "InvalidQueryParameterValue")
        }
    }

    private func body(of request: ServerRequest) async throws -> [UInt8] {
        let bytes = try await request.bytes()
        guard let length = request.headers["content-length"].flatMap({ Int($0) }) else {
            throw BlobStorage.Refusal(411, "MissingContentLengthHeader")
        }
        guard bytes.count == length else { throw BlobStorage.Refusal(400, "RequestBodyTooLarge") }
        return bytes
    }

    private func conditions(of request: ServerRequest) -> BlobStorage.Conditions {
        BlobStorage.Conditions(
            ifMatch: request.headers["if-match"], ifNoneMatch: request.headers["if-none-match"])
    }

    private func metadata(of request: ServerRequest) -> [String: String] {
        request.headers.filter { $0.key.hasPrefix("x-ms-meta-") }
    }

    private func facts(_ blob: BlobStorage.Blob) -> [(name: String, value: String)] {
        [("ETag", blob.etag), ("Last-Modified", blob.modified.httpDate)]
    }

    // MARK: Reading

    private func read(
        _ name: String, in container: String, _ request: ServerRequest
    ) throws(BlobStorage.Refusal) -> ServerResponse {
        let blob = try storage.blob(name, in: container)
        try BlobStorage.check(conditions(of: request), blob, isWrite: false)
        var headers =
            common + facts(blob) + [
                ("Content-Type", blob.contentType), ("x-ms-blob-type", "BlockBlob"), ("Accept-Ranges", "bytes"),
            ]
        for (key, value) in blob.metadata { headers.append((key, value)) }
        if request.method == "HEAD" {
            if blob.isArchived { headers.append(("x-ms-access-tier", "Archive")) }
            return ServerResponse(200, headers: headers + [("Content-Length", "\(blob.size)")])
        }
        try BlobStorage.checkTier(blob)
        guard let text = request.headers["x-ms-range"] ?? request.headers["range"] else {
            return ServerResponse(200, headers: headers, body: blob.bytes)
        }
        guard let range = HTTPRange.parse(text, of: blob.size) else {
            throw BlobStorage.Refusal(416, "InvalidRange")
        }
        headers.append(("Content-Range", "bytes \(range.lowerBound)-\(range.upperBound - 1)/\(blob.size)"))
        return ServerResponse(206, headers: headers, body: blob.bytes(range))
    }

    // MARK: Lists

    private func listContainers() -> ServerResponse {
        let entries = storage.containers.map {
            "<Container><Name>\($0)</Name><Properties><Last-Modified>\(faults.now.httpDate)</Last-Modified>"
                + "<Etag>\"0x0\"</Etag></Properties></Container>"
        }
        return xml(
            "<EnumerationResults><Containers>\(entries.joined())</Containers><NextMarker/></EnumerationResults>")
    }

    private func list(_ container: String, _ query: [String: String]) throws(BlobStorage.Refusal) -> ServerResponse {
        let prefix = query["prefix"] ?? ""
        let marker = query["marker"] ?? ""
        let limit = min(query["maxresults"].flatMap { Int($0) } ?? 5000, 5000)
        guard limit > 0 else { throw BlobStorage.Refusal(400, "OutOfRangeQueryParameterValue") }
        let found = try storage.blobs(in: container).filter { $0.name.hasPrefix(prefix) && $0.name >= marker }
        let page = found.prefix(limit).map { name, blob in
            "<Blob><Name>\(escaped(name))</Name><Properties><Last-Modified>\(blob.modified.httpDate)</Last-Modified>"
                + "<Etag>\(escaped(blob.etag))</Etag><Content-Length>\(blob.size)</Content-Length>"
                + "<Content-Type>\(escaped(blob.contentType))</Content-Type><BlobType>BlockBlob</BlobType>"
                + "</Properties></Blob>"
        }
        let next = found.count > limit ? escaped(found[limit].name) : ""
        return xml(
            "<EnumerationResults ContainerName=\"\(escaped(container))\"><Prefix>\(escaped(prefix))</Prefix>"
                + "<MaxResults>\(limit)</MaxResults><Blobs>\(page.joined())</Blobs><NextMarker>\(next)</NextMarker>"
                + "</EnumerationResults>")
    }

    private func blockList(
        _ name: String, in container: String, _ type: String?
    ) throws(BlobStorage.Refusal) -> ServerResponse {
        let blocks = try storage.blocks(name, in: container)
        func list(_ element: String, _ blocks: [BlobStorage.Block]) -> String {
            let entries = blocks.map { "<Block><Name>\($0.id)</Name><Size>\($0.bytes.count)</Size></Block>" }
            return "<\(element)>\(entries.joined())</\(element)>"
        }
        let type = type ?? "committed"
        let committed = type == "uncommitted" ? "" : list("CommittedBlocks", blocks.committed)
        let uncommitted = type == "committed" ? "" : list("UncommittedBlocks", blocks.uncommitted)
        return xml("<BlockList>\(committed)\(uncommitted)</BlockList>")
    }

    private func xml(_ text: String) -> ServerResponse {
        let document = "\u{FEFF}<?xml version=\"1.0\" encoding=\"utf-8\"?>" + text
        return ServerResponse(200, headers: [("Content-Type", "application/xml")] + common, body: Array(document.utf8))
    }

    private func escaped(_ text: String) -> String {
        var escaped = text
        for (plain, entity) in [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\"", "&quot;")] {
            escaped = escaped.replacingOccurrences(of: plain, with: entity)
        }
        return escaped
    }
}

/// The `Range` header of a request, of which servers here know one range from its start on.
enum HTTPRange {
    /// The bytes of `count` that `text` means, `nil` if there are none.
    static func parse(_ text: String, of count: Int) -> Range<Int>? {
        guard text.hasPrefix("bytes=") else { return nil }
        let ends = text.dropFirst(6).split(separator: "-", omittingEmptySubsequences: false)
        guard ends.count == 2, let start = Int(ends[0]), start < count else { return nil }
        guard !ends[1].isEmpty else { return start..<count }
        guard let last = Int(ends[1]), last >= start else { return nil }
        return start..<min(last + 1, count)
    }
}
