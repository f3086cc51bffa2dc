public import BuildCacheCore
import BuildCacheHTTP
import Foundation
import Synchronization
package import TestServers

/// GitHub's cache service in this process, for tests: both versions of its protocol, and the list of its REST API.
///
/// As strict as GitHub about tokens and their scopes, entries that never change, sizes and parts, signed addresses, and uploads in a
/// minute. What is uploaded to version 2 goes through an ``AzureBlobServer``.
///
/// ```swift
/// try await GitHubCacheServer().run { server, url in
///     let options = GitHubActionsOptions(token: server.token(), url: url, urlV2: url)
///     …
/// }
/// ```
///
/// - Source: `Documentation/Spec/backends.md` §4.
public final class GitHubCacheServer: Sendable {
    /// One entry that is visible.
    public struct Entry: Hashable, Sendable {
        /// As in `index-buildkit-1-f921bd05#1`.
        public var key: String
        /// As in `refs/heads/main`.
        public var scope: String
        /// What readers must name, too.
        public var version: String
        /// The bytes.
        public var bytes: [UInt8]

        /// Makes an entry.
        public init(key: String, scope: String, version: String, bytes: [UInt8]) {
            self.key = key
            self.scope = scope
            self.version = version
            self.bytes = bytes
        }
    }
    /// What a token allows in one scope.
    public struct Permission: Hashable, Sendable {
        /// As in `refs/heads/main`.
        public var scope: String
        /// 1 to read, 2 to write, 3 for both.
        public var bits: Int

        /// Makes a permission.
        public init(_ scope: String, _ bits: Int = 3) { (self.scope, self.bits) = (scope, bits) }
    }

    /// What goes wrong.
    public let faults: ServerFaults
    /// A token that the REST API takes.
    public let restToken = Secret("rest-" + String(UInt64.random(in: .min ... .max), radix: 36))
    /// Uploads in a minute; more are answered with 429.
    public let uploadsPerMinute: Int

    private struct Stored {
        var number: Int
        var key: String
        var scope: String
        var version: String
        /// In the storage account; `nil` until the entry is ended.
        var blob: String
        var isCommitted = false
        /// Parts that arrived, by their first byte.
        var parts: [Int: [UInt8]] = [:]
        var created: Timestamp
        /// When it was made or looked up last.
        var accessed: Timestamp
    }
    private struct State {
        var entries: [Stored] = []
        var lastNumber = 0
        var begun: [Timestamp] = []
        var writesMark = false

        mutating func begin(
            _ key: String, _ scope: String, _ version: String, isCommitted: Bool, at now: Timestamp
        ) -> Stored {
            lastNumber += 1
            let entry = Stored(
                number: lastNumber, key: key, scope: scope, version: version, blob: "entry-\(lastNumber)",
                isCommitted: isCommitted, created: now, accessed: now)
            entries.append(entry)
            return entry
        }
    }
    private let state = Mutex(State())
    private let storage: AzureBlobServer
    private let secret = (0..<32).map { _ in UInt8.random(in: .min ... .max) }
    private static let container = "actions-cache"
    private static let signedSeconds: Int64 = 3600
    /// After so long an entry that was begun and not ended is forgotten.
    private static let reservationSeconds: Int64 = 86_400

    /// Makes a service without entries.
    public init(uploadsPerMinute: Int = 200, faults: ServerFaults = ServerFaults()) throws(CacheError) {
        self.faults = faults
        self.uploadsPerMinute = uploadsPerMinute
        storage = try AzureBlobServer(account: "productionresultssa0", isPathStyle: false, faults: faults)
        try? storage.storage.createContainer(Self.container)
    }

    /// Runs the server on a free port of this machine for as long as `body` runs.
    public func run<Value: Sendable>(
        _ body: @escaping @Sendable (GitHubCacheServer, _ url: ServiceURL) async throws -> Value
    ) async throws -> Value {
        try await withServer { request in
            try await self.faults.respond(to: request) { request in try await self.respond(to: request) }
        } _: { address in
            try await body(self, try ServiceURL("http://\(address)/"))
        }
    }

    // MARK: Tokens

    /// A token as a runner has it.
    ///
    /// - Parameters:
    ///   - permissions: The scopes it is good for, in the order of the token.
    ///   - notBefore: Seconds from now on.
    ///   - lasts: Seconds from now on.
    public func token(
        _ permissions: [Permission] = [Permission("refs/heads/main")], notBefore: Int64 = -60, lasts: Int64 = 3600
    ) -> Secret<String> {
        let now = faults.now.seconds
        var access = JSONWriter()
        access.beginArray()
        for permission in permissions {
            access.beginObject()
            access.key("Scope")
            access.string(permission.scope)
            access.key("Permission")
            access.integer(permission.bits)
            access.endObject()
        }
        access.endArray()
        var claims = JSONWriter()
        claims.beginObject()
        claims.key("ac")
        claims.string(String(decoding: access.bytes, as: UTF8.self))
        claims.key("nbf")
        claims.integer(now + notBefore)
        claims.key("exp")
        claims.integer(now + lasts)
        claims.endObject()
        let text =
            Base64.encodeForURL(Array(#"{"alg":"HS256","typ":"JWT"}"#.utf8)) + "."
            + Base64.encodeForURL(claims.bytes)
        return Secret(text + "." + Base64.encodeForURL(HMAC.sha256(key: secret, text.utf8)))
    }

    /// What the token of a request allows, `nil` if it is none of ours or has ended.
    private func permissions(_ request: ServerRequest) -> [Permission]? {
        struct Claims: Decodable {
            var ac: String
            var nbf: Int64
            var exp: Int64
        }
        struct Scope: Decodable {
            enum CodingKeys: String, CodingKey { case name = "Scope", bits = "Permission" }
            var name: String
            var bits: Int
        }
        guard let header = request.headers["authorization"], header.hasPrefix("Bearer ") else { return nil }
        let parts = header.dropFirst(7).split(separator: ".")
        guard parts.count == 3,
            Base64.encodeForURL(HMAC.sha256(key: secret, "\(parts[0]).\(parts[1])".utf8)) == parts[2],
            let bytes = Base64.decodeForURL(parts[1].utf8),
            let claims = try? JSONDecoder().decode(Claims.self, from: Data(bytes)),
            let scopes = try? JSONDecoder().decode([Scope].self, from: Data(claims.ac.utf8)),
            claims.nbf <= faults.now.seconds, faults.now.seconds < claims.exp
        else { return nil }
        return scopes.map { Permission($0.name, $0.bits) }
    }

    // MARK: What is stored

    /// All visible entries, in the order they were begun.
    public var entries: [Entry] {
        state.withLock { $0.entries.filter(\.isCommitted) }.map { entry in
            Entry(
                key: entry.key, scope: entry.scope, version: entry.version,
                bytes: storage.bytes(entry.blob, in: Self.container) ?? [])
        }
    }

    /// The keys of entries that were begun and not ended.
    public var reservedKeys: [String] { state.withLock { $0.entries.filter { !$0.isCommitted }.map(\.key) } }

    /// Stores an entry past all checks.
    public func put(_ entry: Entry) {
        let blob = begin(entry.key, entry.scope, entry.version, isCommitted: true)
        storage.put(entry.bytes, as: blob, in: Self.container)
    }

    /// Begins an entry as a job might that breaks off then.
    public func reserve(_ key: String, scope: String, version: String) {
        _ = begin(key, scope, version, isCommitted: false)
    }

    /// Evicts entries; addresses that were given out lead nowhere then.
    public func evict(where isEvicted: (_ key: String) -> Bool) {
        let gone = state.withLock { state in
            let gone = state.entries.filter { isEvicted($0.key) }
            state.entries.removeAll { isEvicted($0.key) }
            return gone
        }
        for entry in gone { storage.remove(entry.blob, in: Self.container) }
    }

    /// Makes entries look as if they had been made, and looked up last, so many seconds earlier.
    public func age(seconds: Int64, where isAged: (_ key: String) -> Bool = { _ in true }) {
        func earlier(_ time: Timestamp) -> Timestamp { Timestamp(seconds: time.seconds - seconds) ?? time }
        state.withLock { state in
            for index in state.entries.indices where isAged(state.entries[index].key) {
                state.entries[index].created = earlier(state.entries[index].created)
                state.entries[index].accessed = earlier(state.entries[index].accessed)
            }
        }
    }

    /// Lets the service begin its JSON with a byte order mark, as it sometimes does.
    public func writeByteOrderMarks() { state.withLock { $0.writesMark = true } }

    private func begin(_ key: String, _ scope: String, _ version: String, isCommitted: Bool) -> String {
        let now = faults.now
        return state.withLock { $0.begin(key, scope, version, isCommitted: isCommitted, at: now).blob }
    }

    // MARK: Answering

    /// How a request is refused.
    private struct Refusal: Error {
        var status: Int
        /// Version 2's name for it.
        var code: String
        /// Version 1's name for it.
        var type: String
        var message: String
    }

    /// Answers a request, whatever ``faults`` say.
    package func respond(to request: ServerRequest) async throws -> ServerResponse {
        if request.path.hasPrefix("/\(Self.container)/") { return try await storage.respond(to: request) }
        if request.path.hasPrefix("/repos/") { return respondREST(request) }
        let isV1 = request.path.hasPrefix("/_apis/artifactcache/")
        do {
            guard let permissions = permissions(request) else {
                _ = try await request.bytes()
                throw Refusal(
                    status: 401, code: "unauthenticated", type: "InvalidTokenException",
                    message: "the token is not valid")
            }
            return isV1 ? try await respondV1(request, permissions) : try await respondV2(request, permissions)
        } catch let refusal as Refusal {
            var json = JSONWriter()
            json.beginObject()
            for (name, value) in isV1
                ? [("message", refusal.message), ("typeName", refusal.type), ("typeKey", refusal.type)]
                : [("code", refusal.code), ("msg", refusal.message)]
            {
                json.key(name)
                json.string(value)
            }
            json.endObject()
            return answer(refusal.status, json, headers: refusal.status == 429 ? [("Retry-After", "7")] : [])
        }
    }

    private func answer(
        _ status: Int, _ json: JSONWriter, headers: [(name: String, value: String)] = []
    ) -> ServerResponse {
        let mark: [UInt8] = state.withLock { $0.writesMark } ? [0xEF, 0xBB, 0xBF] : []
        return ServerResponse(
            status, headers: headers + [("Content-Type", "application/json")], body: mark + json.bytes)
    }

    // MARK: Entries

    private func object(_ fields: [(String, (inout JSONWriter) -> Void)]) -> JSONWriter {
        var json = JSONWriter()
        json.beginObject()
        for (name, write) in fields {
            json.key(name)
            write(&json)
        }
        json.endObject()
        return json
    }

    /// The entry that a lookup means: in each scope first one of exactly this key, then the newest that begins with it.
    private func find(
        _ keys: [String], exactly: String?, _ version: String, _ permissions: [Permission]
    ) -> Stored? {
        let scopes = permissions.filter { $0.bits & 1 != 0 }.map(\.scope)
        let now = faults.now
        return state.withLock { state in
            func used(_ matches: (Stored) -> Bool) -> Stored? {
                guard let index = state.entries.lastIndex(where: matches) else { return nil }
                state.entries[index].accessed = now
                return state.entries[index]
            }
            for scope in scopes {
                func isVisible(_ entry: Stored) -> Bool {
                    entry.isCommitted && entry.scope == scope && entry.version == version
                }
                if let exactly, let entry = used({ isVisible($0) && $0.key == exactly }) { return entry }
                for key in keys {
                    if let entry = used({ isVisible($0) && $0.key.hasPrefix(key) }) { return entry }
                }
            }
            return nil
        }
    }

    private func reserve(_ key: String, _ version: String, _ permissions: [Permission]) throws(Refusal) -> Stored {
        guard let scope = permissions.last(where: { $0.bits & 2 != 0 })?.scope else {
            throw Refusal(
                status: 403, code: "permission_denied", type: "AccessDeniedException",
                message: "cache write denied: token has no writable scopes")
        }
        guard !key.isEmpty, key.utf8.count <= 512, !key.contains(",") else {
            throw Refusal(
                status: 400, code: "invalid_argument", type: "ArgumentException", message: "the key is not valid")
        }
        let now = faults.now
        let isTooMany = state.withLock { state in
            state.begun.removeAll { $0.seconds <= now.seconds - 60 }
            guard state.begun.count < uploadsPerMinute else { return true }
            state.begun.append(now)
            return false
        }
        guard !isTooMany else {
            throw Refusal(
                status: 429, code: "resource_exhausted", type: "RequestBlockedException",
                message: "rate limit: too many uploads in a minute")
        }
        // Under one lock: of two jobs that ask for one key at once, one gets it.
        let entry = state.withLock { state -> Stored? in
            state.entries.removeAll {
                !$0.isCommitted && $0.created.seconds + Self.reservationSeconds <= now.seconds
            }
            let exists = state.entries.contains { $0.key == key && $0.scope == scope && $0.version == version }
            return exists ? nil : state.begin(key, scope, version, isCommitted: false, at: now)
        }
        guard let entry else {
            throw Refusal(
                status: 409, code: "already_exists", type: "ArtifactCacheItemAlreadyExistsException",
                message: "cache entry with the same key, version, and scope already exists")
        }
        return entry
    }

    private var notFound: Refusal {
        Refusal(status: 404, code: "not_found", type: "NotFoundException", message: "there is no such entry")
    }

    private func signedURL(
        _ entry: Stored, permissions: String, _ request: ServerRequest
    ) throws -> String {
        let end = Timestamp(seconds: faults.now.seconds + Self.signedSeconds) ?? .zero
        return try storage.signedURL(
            entry.blob, in: Self.container, permissions: permissions, expires: end,
            base: try ServiceURL("http://\(request.host)")
        ).exposed
    }

    // MARK: Version 1

    private struct Reserve: Decodable {
        var key: String
        var version: String
    }

    private func respondV1(_ request: ServerRequest, _ permissions: [Permission]) async throws -> ServerResponse {
        guard request.headers["accept"]?.contains("api-version=6.0-preview") == true else {
            throw Refusal(
                status: 400, code: "", type: "VssVersionNotSpecifiedException", message: "no api-version is accepted")
        }
        let path = request.path.dropFirst("/_apis/artifactcache/".count)
        let body = try await request.bytes()
        switch (request.method, path.split(separator: "/").map(String.init)) {
        case ("GET", ["cache"]):
            let keys = (request.query["keys"] ?? "").split(separator: ",").map(String.init)
            // This version knows only prefixes.
            guard let entry = find(keys, exactly: nil, request.query["version"] ?? "", permissions) else {
                return ServerResponse(204)
            }
            let url = try signedURL(entry, permissions: "r", request)
            return answer(
                200,
                object([
                    ("cacheKey", { $0.string(entry.key) }), ("scope", { $0.string(entry.scope) }),
                    ("archiveLocation", { $0.string(url) }),
                ]))
        case ("POST", ["caches"]):
            guard let wanted = try? JSONDecoder().decode(Reserve.self, from: Data(body)) else { throw notFound }
            let entry = try reserve(wanted.key, wanted.version, permissions)
            return answer(201, object([("cacheId", { $0.integer(entry.number) })]))
        case ("PATCH", let parts) where parts.count == 2 && parts[0] == "caches":
            try takePart(body, request, number: Int(parts[1]) ?? 0, permissions)
            return ServerResponse(204)
        case ("POST", let parts) where parts.count == 2 && parts[0] == "caches":
            struct Commit: Decodable { var size: Int }
            guard let commit = try? JSONDecoder().decode(Commit.self, from: Data(body)) else { throw notFound }
            try endV1(number: Int(parts[1]) ?? 0, size: commit.size)
            return ServerResponse(204)
        default: throw notFound
        }
    }

    /// Takes bytes `first-last/*` of an entry.
    private func takePart(
        _ body: [UInt8], _ request: ServerRequest, number: Int, _ permissions: [Permission]
    ) throws(Refusal) {
        let text = request.headers["content-range"] ?? ""
        let ends =
            text.hasPrefix("bytes ") && text.hasSuffix("/*")
            ? text.dropFirst(6).dropLast(2).split(separator: "-").compactMap { Int($0) } : []
        guard ends.count == 2, ends[1] - ends[0] + 1 == body.count else {
            throw Refusal(
                status: 400, code: "", type: "ArgumentException",
                message: "Content-Range does not say which bytes these are")
        }
        let isOpen = state.withLock { state in
            guard let index = state.entries.firstIndex(where: { $0.number == number && !$0.isCommitted }) else {
                return false
            }
            state.entries[index].parts[ends[0]] = body
            return true
        }
        guard isOpen else { throw notFound }
    }

    private func endV1(number: Int, size: Int) throws(Refusal) {
        guard let entry = state.withLock({ $0.entries.first { $0.number == number && !$0.isCommitted } }) else {
            throw notFound
        }
        var bytes: [UInt8] = []
        for (start, part) in entry.parts.sorted(by: { $0.key < $1.key }) {
            guard start == bytes.count else { break }
            bytes += part
        }
        guard bytes.count == size else {
            throw Refusal(
                status: 400, code: "", type: "ArgumentException",
                message: "\(bytes.count) bytes arrived without a gap instead of \(size)")
        }
        storage.put(bytes, as: entry.blob, in: Self.container)
        state.withLock { state in
            guard let index = state.entries.firstIndex(where: { $0.number == number }) else { return }
            state.entries[index].parts = [:]
            state.entries[index].isCommitted = true
        }
    }

    // MARK: Version 2

    private func respondV2(_ request: ServerRequest, _ permissions: [Permission]) async throws -> ServerResponse {
        struct Call: Decodable {
            enum CodingKeys: String, CodingKey {
                case key, version, restoreKeys = "restore_keys", size = "size_bytes"
            }
            var key: String
            var version: String
            var restoreKeys: [String]?
            var size: Int?
        }
        let body = try await request.bytes()
        let path = "/twirp/github.actions.results.api.v1.CacheService/"
        guard request.method == "POST", request.path.hasPrefix(path),
            request.headers["content-type"] == "application/json"
        else { throw Refusal(status: 404, code: "bad_route", type: "", message: "there is no such method") }
        guard let call = try? JSONDecoder().decode(Call.self, from: Data(body)) else {
            throw Refusal(status: 400, code: "malformed", type: "", message: "the body is no JSON of this method")
        }
        switch request.path.dropFirst(path.count) {
        case "GetCacheEntryDownloadURL":
            guard let entry = find(call.restoreKeys ?? [], exactly: call.key, call.version, permissions) else {
                return answer(
                    200,
                    object([
                        ("ok", { $0.bool(false) }), ("signed_download_url", { $0.string("") }),
                        ("matched_key", { $0.string("") }),
                    ]))
            }
            let url = try signedURL(entry, permissions: "r", request)
            return answer(
                200,
                object([
                    ("ok", { $0.bool(true) }), ("signed_download_url", { $0.string(url) }),
                    ("matched_key", { $0.string(entry.key) }),
                ]))
        case "CreateCacheEntry":
            let entry = try reserve(call.key, call.version, permissions)
            let url = try signedURL(entry, permissions: "cw", request)
            return answer(
                200, object([("ok", { $0.bool(true) }), ("signed_upload_url", { $0.string(url) })]))
        case "FinalizeCacheEntryUpload":
            let number = try endV2(call.key, call.version, size: call.size ?? -1, permissions)
            return answer(200, object([("ok", { $0.bool(true) }), ("entry_id", { $0.string("\(number)") })]))
        default: throw Refusal(status: 404, code: "bad_route", type: "", message: "there is no such method")
        }
    }

    private func endV2(
        _ key: String, _ version: String, size: Int, _ permissions: [Permission]
    ) throws(Refusal) -> Int {
        let scopes = permissions.filter { $0.bits & 2 != 0 }.map(\.scope)
        let entry = state.withLock { state in
            state.entries.first {
                $0.key == key && $0.version == version && !$0.isCommitted && scopes.contains($0.scope)
            }
        }
        guard let entry else { throw notFound }
        guard let bytes = storage.bytes(entry.blob, in: Self.container), bytes.count == size else {
            throw Refusal(
                status: 400, code: "invalid_argument", type: "", message: "the upload has another size, or is not there"
            )
        }
        state.withLock { state in
            guard let index = state.entries.firstIndex(where: { $0.number == entry.number }) else { return }
            state.entries[index].isCommitted = true
        }
        return entry.number
    }

    // MARK: REST API

    private func respondREST(_ request: ServerRequest) -> ServerResponse {
        let parts = request.path.split(separator: "/")
        guard parts.count >= 5, parts[3] == "actions", parts[4] == "caches" else {
            return ServerResponse(404, json: #"{"message":"Not Found"}"#)
        }
        guard request.headers["authorization"] == "Bearer \(restToken.exposed)" else {
            return ServerResponse(401, json: #"{"message":"Bad credentials"}"#)
        }
        switch (request.method, parts.count) {
        case ("GET", 5): return listing(request)
        case ("DELETE", 6):
            guard let number = Int(parts[5]), delete(number) else {
                return ServerResponse(404, json: #"{"message":"Not Found"}"#)
            }
            return ServerResponse(204)
        default: return ServerResponse(404, json: #"{"message":"Not Found"}"#)
        }
    }

    private func size(of entry: Stored) -> Int { storage.bytes(entry.blob, in: Self.container)?.count ?? 0 }

    private func delete(_ number: Int) -> Bool {
        let gone = state.withLock { state in
            let index = state.entries.firstIndex { $0.number == number && $0.isCommitted }
            return index.map { state.entries.remove(at: $0) }
        }
        guard let gone else { return false }
        storage.remove(gone.blob, in: Self.container)
        return true
    }

    private func listing(_ request: ServerRequest) -> ServerResponse {
        let limit = min(request.query["per_page"].flatMap { Int($0) } ?? 30, 100)
        let page = max(request.query["page"].flatMap { Int($0) } ?? 1, 1)
        let matching = state.withLock { state in
            state.entries.filter { entry in
                entry.isCommitted && entry.key.hasPrefix(request.query["key"] ?? "")
                    && entry.scope == request.query["ref"] ?? entry.scope
            }
        }
        // Entries that were used last come first, unless another order is asked for.
        let sorted =
            request.query["sort"] == "created_at"
            ? matching.sorted { $0.created < $1.created } : matching.sorted { $0.accessed < $1.accessed }
        let found = request.query["direction"] == "asc" ? sorted : sorted.reversed()
        let json = object([
            ("total_count", { $0.integer(found.count) }),
            (
                "actions_caches",
                { json in
                    json.beginArray()
                    for entry in found.dropFirst((page - 1) * limit).prefix(limit) {
                        json.verbatim(
                            self.object([
                                ("id", { $0.integer(entry.number) }), ("ref", { $0.string(entry.scope) }),
                                ("key", { $0.string(entry.key) }), ("version", { $0.string(entry.version) }),
                                ("created_at", { $0.timestamp(entry.created) }),
                                ("last_accessed_at", { $0.timestamp(entry.accessed) }),
                                ("size_in_bytes", { $0.integer(self.size(of: entry)) }),
                            ]).bytes)
                    }
                    json.endArray()
                }
            ),
        ])
        return answer(200, json)
    }
}
