@testable import BuildCacheBytes
@testable import BuildCacheCore
@testable import BuildCacheGraph
@testable import BuildCacheTesting
@testable import BuildCacheClient
@testable import TestServers
@testable import TestTools
import Testing

@testable import BuildCacheRegistry

/// A wrong answer to HEAD of a blob.
private struct WrongHead: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var answer: @Sendable (Int) -> ServerResponse

    static let all = [
        WrongHead(testDescription: "a length of 0") { _ in ServerResponse(200, headers: [("Content-Length", "0")]) },
        WrongHead(testDescription: "the length of an error page") { _ in
            ServerResponse(200, headers: [("Content-Length", "1234"), ("Content-Type", "text/html")])
        },
        WrongHead(testDescription: "the length of a compressed form") { count in
            ServerResponse(200, headers: [("Content-Length", "\(count / 3)"), ("Content-Encoding", "gzip")])
        },
        WrongHead(testDescription: "no length") { _ in ServerResponse(200, headers: [("Transfer-Encoding", "chunked")])
        },
        WrongHead(testDescription: "a length of 2^63-1") { _ in
            ServerResponse(200, headers: [("Content-Length", "9223372036854775807")])
        },
        WrongHead(testDescription: "400") { _ in ServerResponse(400) },
        WrongHead(testDescription: "403") { _ in ServerResponse(403) },
        WrongHead(testDescription: "405") { _ in ServerResponse(405) },
        WrongHead(testDescription: "501") { _ in ServerResponse(501) },
    ]
}

@Suite("With a registry that answers HEAD wrongly")
struct WrongHeadTests {
    @Test("a cache is read whole", arguments: WrongHead.all, [true, false])
    private func imports(_ head: WrongHead, _ knowsRanges: Bool) async throws {
        let registry = FakeRegistry()
        registry.manners.knowsRanges = knowsRanges
        try await withCache(registry) { cache in
            let sample = try SampleCache.diamond()
            _ = try await cache.exportCache(sample.graph, from: sample.source, progress: .discarded)
            registry.manners.head = { head.answer($0) }
            let known = try #require(try await cache.importCache(progress: .discarded))
            #expect(known.graph == sample.graph)
            #expect(known.problems == [])
        }
    }

    @Test("nothing that is there is sent again", arguments: WrongHead.all)
    private func exports(_ head: WrongHead) async throws {
        let registry = FakeRegistry()
        registry.manners.head = { head.answer($0) }
        try await withCache(registry) { cache in
            let sample = try SampleCache.diamond()
            _ = try await cache.exportCache(sample.graph, from: sample.source, progress: .discarded)
            registry.clearLog()
            let receipt = try await cache.exportCache(sample.graph, from: sample.source, progress: .discarded)
            #expect(receipt.transfers.values.allSatisfy { $0 == .alreadyPresent })
            #expect(!registry.methods.contains("PUT"))
        }
    }

    @Test("a blob that is not there is sent though HEAD says that it is")
    func missing() async throws {
        let registry = FakeRegistry()
        registry.manners.fault = { _, request in
            request.method == "HEAD" ? .answer(ServerResponse(200, headers: [("Content-Length", "77")])) : nil
        }
        try await withRepository(registry) { repository, _, _ in
            let blob = makeBlob(1000)
            let outcome = try await repository.put(blob.descriptor, from: MemorySource([blob.bytes]))
            #expect(outcome == .written)
            #expect(registry.blobs(of: "app")["\(blob.descriptor.digest)"] == blob.bytes)
        }
    }

    @Test("a layer that is cut short is lost, and the export after that replaces it")
    func cutShort() async throws {
        let registry = FakeRegistry()
        try await withRepository(registry) { repository, _, _ in
            let blob = makeBlob(1000)
            try await repository.put(blob.descriptor, from: MemorySource([blob.bytes]))
            registry.manners.fault = { _, request in
                request.path.hasSuffix("\(blob.descriptor.digest)") && request.method != "PUT"
                    ? .answer(
                        request.headers["range"] == nil
                            ? ServerResponse(200, body: Array(blob.bytes.prefix(500))) : ServerResponse(416)) : nil
            }
            let isWhole = try await repository.holds(blob.descriptor)
            #expect(!isWhole)
            let outcome = try await repository.put(blob.descriptor, from: MemorySource([blob.bytes]))
            #expect(outcome == .written)
        }
    }

    @Test("an empty blob is there, and has no bytes")
    func empty() async throws {
        let registry = FakeRegistry()
        registry.add([], to: "app")
        try await withRepository(registry) { repository, _, _ in
            let descriptor = makeBlob(0).descriptor
            let isThere = try await repository.holds(descriptor)
            #expect(isThere)
            let size = try await repository.stat(descriptor.digest)?.size
            #expect(size == 0)
        }
    }

    @Test("the size of a blob is that of its bytes", arguments: WrongHead.all)
    private func stat(_ head: WrongHead) async throws {
        // A size that is possible is believed by a caller that knows no other.
        guard !["the length of an error page", "a length of 2^63-1"].contains(head.testDescription) else { return }
        let registry = FakeRegistry()
        registry.manners.head = { head.answer($0) }
        let blob = makeBlob(1000)
        registry.add(blob.bytes, to: "app")
        try await withRepository(registry) { repository, _, _ in
            let size = try await repository.stat(blob.descriptor.digest)?.size
            #expect(size == 1000)
        }
    }

    @Test("any total in a Content-Range ends in an answer", arguments: OutsideNumbers.strange)
    func totals(_ number: String) async throws {
        let registry = FakeRegistry()
        let blob = makeBlob(1000)
        registry.add(blob.bytes, to: "app")
        registry.manners.head = { _ in ServerResponse(405) }
        registry.manners.fault = { _, request in
            request.method == "GET"
                ? .answer(ServerResponse(206, headers: [("Content-Range", "bytes 999-999/\(number)")], body: [1])) : nil
        }
        try await withRepository(registry) { repository, _, _ in
            let holds = try await repository.holds(blob.descriptor)
            // A number that is not one tells nothing; the byte is there.
            #expect(holds == (Int64(byteCount: number) == nil))
            _ = try? await repository.stat(blob.descriptor.digest)
        }
    }
}
