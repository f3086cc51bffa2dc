@testable import BuildCacheCore
@testable import BuildCacheHTTP
@testable import BuildCacheOCI
@testable import BuildCacheTesting
@testable import TestServers
import Testing

@testable import BuildCacheRegistry

/// A refusal of a manifest, with the right words for it.
private struct Refusal: Sendable, CustomTestStringConvertible {
    var status: Int
    var code: String?
    var message = "no"
    var type = MediaType.ociManifest
    var expected: CacheError.Code
    /// A part of the remedy, `nil` for none.
    var remedy: String?

    var testDescription: String { "\(status) \(code ?? "") \(message)" }

    var answer: ServerResponse {
        guard let code else { return ServerResponse(status, body: Array("<html>\(message)</html>".utf8)) }
        return ServerResponse(status, json: #"{"errors":[{"code":"\#(code)","message":"\#(message)"}]}"#)
    }

    static let immutable = "the tag cannot be overwritten: use another tag, or exempt this one"
    static let type = "seems to take no manifest of a cache"

    static let all = [
        // ECR, Harbor, Google, and text without a code.
        Refusal(
            status: 400, code: "TAG_INVALID",
            message:
                "The image tag 'c' already exists in the 'app' repository and cannot be overwritten because the tag is immutable.",
            expected: .denied, remedy: immutable),
        Refusal(
            status: 412, code: "PRECONDITION",
            message: "Failed to process request due to 'app:c' configured as immutable.",
            expected: .denied, remedy: immutable),
        Refusal(
            status: 403, code: "DENIED", message: "The repository has enabled tag immutability", expected: .denied,
            remedy: immutable),
        Refusal(status: 409, message: "Tag is immutable", expected: .denied, remedy: immutable),
        Refusal(status: 400, code: "TAG_INVALID", expected: .invalidSpec, remedy: "does not accept this tag"),
        Refusal(status: 400, code: "NAME_INVALID", expected: .invalidSpec, remedy: "does not accept the name"),
        Refusal(
            status: 404, code: "NAME_UNKNOWN", expected: .notFound, remedy: "the repository does not exist: create it"),
        Refusal(
            status: 404, code: "MANIFEST_BLOB_UNKNOWN", expected: .notFound,
            remedy: "does not have a blob of the manifest"),
        Refusal(status: 413, expected: .limitExceeded, remedy: "most registries take up to 4 MiB"),
        Refusal(
            status: 400, code: "SIZE_INVALID", expected: .limitExceeded, remedy: "most registries take up to 4 MiB"),
        // A reason that the registry gives is enough.
        Refusal(status: 400, code: "PROJECT_LOCKED", expected: .rejected, remedy: nil),
        Refusal(status: 403, code: "DENIED", expected: .denied, remedy: nil),
        // The type of the manifest may be the reason.
        Refusal(status: 400, code: "MANIFEST_INVALID", expected: .unsupported, remedy: type),
        Refusal(status: 405, code: "UNSUPPORTED", expected: .unsupported, remedy: type),
        Refusal(status: 415, expected: .unsupported, remedy: type),
        Refusal(
            status: 400, code: "MANIFEST_INVALID", type: .ociIndex, expected: .unsupported,
            remedy: "set image-manifest=true"),
    ]
}

@Suite("A refusal")
struct RefusalTests {
    @Test("of a manifest says what to do, where the registry says why", arguments: Refusal.all)
    private func manifests(_ refusal: Refusal) async throws {
        let registry = FakeRegistry()
        registry.manners.fault = { _, _ in .answer(refusal.answer) }
        // A word in the repository's name is not a reason.
        try await withServer(registry.respond) { address in
            try await RegistryClient.forTests(attempts: 2) { client in
                let repository = try await RegistryRepository(
                    try Reference("\(address)/immutable/app:c"), client: client)
                let document = RawDocument(mediaType: refusal.type, bytes: Array("{}".utf8))
                let error = await #expect(throws: CacheError.self) {
                    try await repository.putManifest(document, as: .tag("c"))
                }
                #expect(error?.code == refusal.expected)
                if let remedy = refusal.remedy {
                    #expect(error?.message.contains(remedy) == true)
                } else {
                    #expect(error?.message.contains(";") == false)
                }
            }
        }
    }

    @Test("of a blob because of the repository's name says what to do")
    func blobs() async throws {
        let registry = FakeRegistry()
        registry.manners.fault = { _, request in
            request.method == "POST" ? .status(404, code: "NAME_UNKNOWN") : nil
        }
        try await withRepository(registry) { repository, _, _ in
            let blob = makeBlob(10)
            let error = await #expect(throws: CacheError.self) {
                try await repository.put(blob.descriptor, from: MemorySource([blob.bytes]))
            }
            #expect(error?.code == .notFound)
            #expect(error?.message.contains("the repository does not exist: create it") == true)
        }
    }
}
