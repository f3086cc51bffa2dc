import BuildCacheCore
import Foundation
import Synchronization

/// A registry in this process, which misbehaves where it is told to.
///
/// - Source: OCI distribution-spec 1.1.
package final class FakeRegistry: Sendable {
    /// What the registry does otherwise than a good one.
    package struct Manners: Sendable {
        /// Addresses without scheme and host.
        package var usesRelativeLocations = false
        /// Another server, as `host:port`, where blobs are uploaded and downloaded; it shares the storage.
        package var storageHost: String?
        /// Bytes of each part but the last one, as a header says; others are not refused.
        package var minimumPart: String?
        /// The bytes of a part that are kept, of those that came.
        package var kept: @Sendable (_ part: Int) -> Int = { $0 }
        /// The `Range` of an answer about an upload that has so many bytes, and got the last part with so many; `nil` is none.
        package var uploadRange: @Sendable (_ stored: Int, _ part: Int) -> String? = { stored, _ in
            "0-\(max(0, stored - 1))"
        }
        /// Whether every digest at the end of an upload is refused.
        package var refusesDigests = false
        /// The answer to HEAD of a blob with so many bytes, `nil` is the right one.
        package var head: @Sendable (_ count: Int) -> ServerResponse? = { _ in nil }
        /// Whether an upload may come in parts.
        package var takesParts = true
        /// The most bytes of a request's body.
        package var largestBody: Int?
        package var knowsHead = true
        package var knowsRanges = true
        /// Whether headers name digests that are none of what was asked for.
        package var namesWrongDigests = false
        /// Whether it lists the referrers of a manifest itself.
        package var hasReferrers = false
        /// Whether manifests may be deleted.
        package var allowsDeletes = true
        /// Tags on one page of their list.
        package var tagsPerPage = 100
        /// Blobs that are listed and lost.
        package var lostBlobs: Set<String> = []
        /// What goes wrong with the n-th request, counted from 1.
        package var fault: @Sendable (_ number: Int, _ request: ServerRequest) -> Fault? = { _, _ in nil }

        package init() {}
    }

    /// What goes wrong with one request.
    package enum Fault: Sendable {
        case status(Int, retryAfter: String? = nil, code: String = "UNKNOWN")
        /// The connection breaks after so many bytes: of what is sent to the registry, if there is something, else of the answer.
        case reset(after: Int)
        /// The answer ends after so many bytes of the body.
        case truncation(after: Int)
        /// Another answer than that of the registry, which does not see the request.
        case answer(ServerResponse)
    }

    private struct State {
        var manners = Manners()
        var blobs: [String: [UInt8]] = [:]
        /// Which repositories have which blobs.
        var owners: [String: Set<String>] = [:]
        var manifests: [String: (type: String, bytes: [UInt8])] = [:]
        var uploads: [String: [UInt8]] = [:]
        var log: [ServerRequest] = []
        var uploadCount = 0
    }
    private let state = Mutex(State())

    package init(_ manners: Manners = Manners()) { state.withLock { $0.manners = manners } }

    /// How it behaves from now on.
    package var manners: Manners {
        get { state.withLock { $0.manners } }
        set { state.withLock { $0.manners = newValue } }
    }

    /// All requests so far, without their bodies.
    package var log: [ServerRequest] { state.withLock { $0.log } }

    /// Forgets the requests so far.
    package func clearLog() { state.withLock { $0.log = [] } }

    /// The uploads that were begun and neither ended nor given up.
    package var openUploads: Int { state.withLock { $0.uploads.count } }

    /// The blobs of a repository.
    package func blobs(of repository: String) -> [String: [UInt8]] {
        state.withLock { state in state.blobs.filter { state.owners[$0.key]?.contains(repository) == true } }
    }

    /// Stores a blob in a repository.
    package func add(_ bytes: [UInt8], to repository: String) {
        state.withLock { state in
            let digest = "\(Digest(of: bytes))"
            state.blobs[digest] = bytes
            state.owners[digest, default: []].insert(repository)
        }
    }

    /// Answers a request, at whichever host it came in.
    package func respond(_ request: ServerRequest) async throws -> ServerResponse {
        let (number, manners) = state.withLock { state in
            state.log.append(request)
            return (state.log.count, state.manners)
        }
        let fault = manners.fault(number, request)
        var body: [UInt8] = []
        switch fault {
        case .reset(let limit) where ["PATCH", "PUT"].contains(request.method):
            body = try await request.bytes(upTo: limit)
            if request.method == "PATCH" { _ = answer(request, body, manners) }
            return .reset
        case .status(let status, let retryAfter, let code):
            _ = try await request.bytes()
            let headers = retryAfter.map { [(name: "Retry-After", value: $0)] } ?? []
            return ServerResponse(
                status, headers: headers, json: #"{"errors":[{"code":"\#(code)","message":"not now"}]}"#)
        case .answer(let response):
            _ = try await request.bytes()
            return response
        default: body = try await request.bytes()
        }
        var response = answer(request, body, manners)
        switch fault {
        case .reset(let limit): response.resetAfter = min(limit, max(0, response.body.count - 1))
        case .truncation(let limit) where request.method == "GET" && response.body.count > limit:
            response.announcedLength = response.body.count
            response.body = Array(response.body.prefix(limit))
        default: break
        }
        return response
    }

    // MARK: Answers

    private func answer(_ request: ServerRequest, _ body: [UInt8], _ manners: Manners) -> ServerResponse {
        if request.path == "/v2/" || request.path == "/v2" { return ServerResponse(200, json: "{}") }
        if request.method == "HEAD", !manners.knowsHead { return refusal(405, "UNSUPPORTED") }
        if let limit = manners.largestBody, body.count > limit { return refusal(413, "SIZE_INVALID") }
        let parts = request.path.split(separator: "/").map { String($0) }
        guard parts.count >= 4, parts[0] == "v2" else { return refusal(404, "NAME_UNKNOWN") }
        if parts.suffix(2) == ["tags", "list"] {
            return tags(parts[1..<(parts.count - 2)].joined(separator: "/"), request, manners)
        }
        if parts[parts.count - 2] == "referrers" {
            guard manners.hasReferrers else { return refusal(404, "NOT_FOUND") }
            return referrers(parts[1..<(parts.count - 2)].joined(separator: "/"), of: parts[parts.count - 1])
        }
        if parts[parts.count - 2] == "manifests" {
            return manifest(parts[1..<(parts.count - 2)].joined(separator: "/"), parts[parts.count - 1], request, body)
        }
        if let uploads = parts.lastIndex(of: "uploads"), uploads > 2 {
            let repository = parts[1..<(uploads - 1)].joined(separator: "/")
            let session = uploads + 1 < parts.count ? parts[uploads + 1] : nil
            return upload(repository, session, request, body, manners)
        }
        return blob(parts[1..<(parts.count - 2)].joined(separator: "/"), parts[parts.count - 1], request, manners)
    }

    private func blob(
        _ repository: String, _ digest: String, _ request: ServerRequest, _ manners: Manners
    ) -> ServerResponse {
        let bytes = state.withLock { state in
            (state.owners[digest] ?? []).contains(repository) ? state.blobs[digest] : nil
        }
        guard let bytes, !manners.lostBlobs.contains(digest) else { return refusal(404, "BLOB_UNKNOWN") }
        if request.method == "GET", let storage = manners.storageHost, request.host != storage {
            return ServerResponse(307, headers: [("Location", "http://\(storage)\(request.path)?signature=secret")])
        }
        if request.method == "HEAD", let response = manners.head(bytes.count) { return response }
        let name = manners.namesWrongDigests ? "\(Digest(of: Array("other".utf8)))" : digest
        var headers = [(name: "Docker-Content-Digest", value: name), ("Content-Type", "application/octet-stream")]
        if manners.knowsRanges, let range = request.headers["range"], let part = parse(range, bytes.count) {
            headers.append(("Content-Range", "bytes \(part.lowerBound)-\(part.upperBound - 1)/\(bytes.count)"))
            return ServerResponse(206, headers: headers, body: Array(bytes[part]))
        }
        return ServerResponse(200, headers: headers, body: bytes)
    }

    private func parse(_ header: String, _ count: Int) -> Range<Int>? {
        let numbers = header.dropFirst("bytes=".count).split(separator: "-").compactMap { Int($0) }
        guard numbers.count == 2, numbers[0] <= numbers[1], numbers[0] < count else { return nil }
        return numbers[0]..<min(numbers[1] + 1, count)
    }

    private func manifest(
        _ repository: String, _ name: String, _ request: ServerRequest, _ body: [UInt8]
    ) -> ServerResponse {
        if request.method == "PUT" {
            let digest = "\(Digest(of: body))"
            guard !name.hasPrefix("sha256:") || name == digest else { return refusal(400, "DIGEST_INVALID") }
            let type = request.headers["content-type"] ?? ""
            state.withLock { state in
                for key in [name, digest] { state.manifests["\(repository):\(key)"] = (type, body) }
            }
            let subject = manners.hasReferrers ? Self.subject(of: body).map { [("OCI-Subject", $0)] } ?? [] : []
            return ServerResponse(201, headers: [("Docker-Content-Digest", digest)] + subject)
        }
        guard let found = state.withLock({ $0.manifests["\(repository):\(name)"] }) else {
            return refusal(404, "MANIFEST_UNKNOWN")
        }
        if request.method == "DELETE" {
            guard manners.allowsDeletes, name.hasPrefix("sha256:") else { return refusal(405, "UNSUPPORTED") }
            // A manifest goes with all its tags.
            state.withLock { state in
                state.manifests = state.manifests.filter { key, manifest in
                    !key.hasPrefix(repository + ":") || manifest.bytes != found.bytes
                }
            }
            return ServerResponse(202)
        }
        let digest = manners.namesWrongDigests ? "\(Digest(of: Array("other".utf8)))" : "\(Digest(of: found.bytes))"
        return ServerResponse(
            200, headers: [("Docker-Content-Digest", digest), ("Content-Type", found.type)], body: found.bytes)
    }

    private static func subject(of manifest: [UInt8]) -> String? {
        let object = try? JSONSerialization.jsonObject(with: Data(manifest)) as? [String: Any]
        return (object?["subject"] as? [String: Any])?["digest"] as? String
    }

    /// Unfiltered, as registries may.
    private func referrers(_ repository: String, of subject: String) -> ServerResponse {
        let manifests = state.withLock { state in
            state.manifests.filter {
                $0.key.hasPrefix("\(repository):sha256:") && Self.subject(of: $0.value.bytes) == subject
            }
        }
        let descriptors = manifests.values.map { manifest -> [String: Any] in
            let object = try? JSONSerialization.jsonObject(with: Data(manifest.bytes)) as? [String: Any]
            return [
                "mediaType": manifest.type, "size": manifest.bytes.count, "digest": "\(Digest(of: manifest.bytes))",
                "artifactType": object?["artifactType"] ?? "",
                "annotations": object?["annotations"] ?? [String: String](),
            ]
        }
        let type = "application/vnd.oci.image.index.v1+json"
        let index: [String: Any] = ["schemaVersion": 2, "mediaType": type, "manifests": descriptors]
        let body = (try? JSONSerialization.data(withJSONObject: index)) ?? Data()
        return ServerResponse(200, headers: [("Content-Type", type)], body: Array(body))
    }

    private func tags(_ repository: String, _ request: ServerRequest, _ manners: Manners) -> ServerResponse {
        let names = state.withLock { state in
            state.manifests.keys.filter { $0.hasPrefix(repository + ":") }.map { $0.dropFirst(repository.count + 1) }
                .filter { !$0.hasPrefix("sha256:") }.map { String($0) }.sorted()
        }
        guard !names.isEmpty else { return refusal(404, "NAME_UNKNOWN") }
        let rest = names.filter { $0 > request.query["last"] ?? "" }
        let page = rest.prefix(manners.tagsPerPage)
        let list = page.map { "\"\($0)\"" }.joined(separator: ",")
        let link = "</v2/\(repository)/tags/list?last=\(page.last ?? "")&n=\(manners.tagsPerPage)>; rel=\"next\""
        return ServerResponse(
            200, headers: rest.count > page.count ? [("Link", link)] : [],
            json: "{\"name\":\"\(repository)\",\"tags\":[\(list)]}")
    }

    // MARK: Uploads

    private func upload(
        _ repository: String, _ session: String?, _ request: ServerRequest, _ body: [UInt8], _ manners: Manners
    ) -> ServerResponse {
        state.withLock { state in
            guard let session else {
                if let digest = request.query["mount"], let from = request.query["from"],
                    state.owners[digest]?.contains(from) == true
                {
                    state.owners[digest, default: []].insert(repository)
                    return ServerResponse(201, headers: [("Docker-Content-Digest", digest)])
                }
                state.uploadCount += 1
                let name = "upload-\(state.uploadCount)"
                state.uploads[name] = []
                return self.state(of: name, [], 0, 202, repository, request, manners)
            }
            guard let stored = state.uploads[session] else { return refusal(404, "BLOB_UPLOAD_UNKNOWN") }
            switch request.method {
            case "PATCH":
                guard manners.takesParts else { return refusal(405, "UNSUPPORTED") }
                let start = request.headers["content-range"].flatMap { Int($0.prefix { $0 != "-" }) } ?? stored.count
                guard start == stored.count else {
                    return self.state(of: session, stored, 0, 416, repository, request, manners)
                }
                let all = stored + body.prefix(manners.kept(body.count))
                state.uploads[session] = all
                return self.state(of: session, all, body.count, 202, repository, request, manners)
            case "PUT":
                let bytes = stored + body
                let digest = "\(Digest(of: bytes))"
                guard digest == request.query["digest"], !manners.refusesDigests else {
                    state.uploads[session] = nil
                    return refusal(400, "DIGEST_INVALID")
                }
                state.uploads[session] = nil
                state.blobs[digest] = bytes
                state.owners[digest, default: []].insert(repository)
                return ServerResponse(201, headers: [("Docker-Content-Digest", digest)])
            case "DELETE":
                state.uploads[session] = nil
                return ServerResponse(204)
            default: return self.state(of: session, stored, 0, 204, repository, request, manners)
            }
        }
    }

    private func state(
        of session: String, _ bytes: [UInt8], _ part: Int, _ status: Int, _ repository: String,
        _ request: ServerRequest, _ manners: Manners
    ) -> ServerResponse {
        let path = "/v2/\(repository)/blobs/uploads/\(session)?_state=\(bytes.count)"
        let root = manners.usesRelativeLocations ? "" : "http://\(manners.storageHost ?? request.host)"
        var headers = [(name: "Location", value: root + path)]
        if let range = manners.uploadRange(bytes.count, part) { headers.append(("Range", range)) }
        if let minimum = manners.minimumPart { headers.append(("OCI-Chunk-Min-Length", minimum)) }
        return ServerResponse(status, headers: headers)
    }

    private func refusal(_ status: Int, _ code: String) -> ServerResponse {
        ServerResponse(status, json: #"{"errors":[{"code":"\#(code)","message":"refused"}]}"#)
    }
}

/// Faults by chance, the same for the same seed: one request in ten fails, each in one of four ways.
package final class RandomFaults: Sendable {
    private let generator: Mutex<UInt64>

    package init(seed: UInt64) { generator = Mutex(seed) }

    /// The next fault, if there is one this time.
    package func next() -> FakeRegistry.Fault? {
        let number = generator.withLock { state -> UInt64 in
            // SplitMix64.
            state &+= 0x9E37_79B9_7F4A_7C15
            var mixed = state
            mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
            mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
            return mixed ^ (mixed >> 31)
        }
        guard number % 10 == 0 else { return nil }
        let amount = Int((number >> 16) % 2000)
        return switch (number >> 8) % 4 {
        case 0: .status(500)
        case 1: .status(503, retryAfter: "0")
        case 2: .reset(after: amount)
        default: .truncation(after: amount)
        }
    }
}
