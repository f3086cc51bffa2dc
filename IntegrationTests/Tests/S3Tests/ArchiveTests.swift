@testable import BuildCacheBytes
@testable import BuildCacheCore
@testable import BuildCacheGraph
@testable import BuildCacheHTTP
@testable import BuildCacheTesting
@testable import BuildCacheClient
import Testing

@testable import BuildCacheS3

@Suite("An object that cannot be read as it is", .timeLimit(.minutes(10)))
struct ArchiveTests {
    /// An object as a lifecycle rule, or its owner, left it.
    struct Tier: Sendable, CustomTestStringConvertible {
        var storageClass: String
        /// The header of HEAD that tells of an archive tier.
        var status: String?
        var days: Int64
        var name: String { status ?? storageClass }
        var testDescription: String { name }

        func archive(_ object: inout ObjectServer.Object) {
            object.storageClass = storageClass
            object.isArchived = true
            if let status { object.headers = [("x-amz-archive-status", status)] }
            object.modified = Timestamp(seconds: Timestamp.now().seconds - days * 86_400) ?? .zero
        }
    }

    static let tiers = [
        Tier(storageClass: "GLACIER", days: 1), Tier(storageClass: "DEEP_ARCHIVE", days: 1000),
        Tier(storageClass: "INTELLIGENT_TIERING", status: "ARCHIVE_ACCESS", days: 90),
        Tier(storageClass: "INTELLIGENT_TIERING", status: "DEEP_ARCHIVE_ACCESS", days: 180),
    ]

    private static func key(_ layer: SampleLayer) -> String { "blobs/\(layer.descriptor.digest)" }
    private static let plain = ExportOptions(mode: .max)

    @Test("is a lost layer, said with its tier, and the next export replaces it", arguments: tiers)
    func layers(_ tier: Tier) async throws {
        let server = ObjectServer()
        try await server.run { cache, bucket in
            let sample = try SampleCache.chain(of: 6)
            let victim = sample.layers[5]
            _ = try await cache(Self.plain).export(sample)
            let before = try #require(try await cache(Self.plain).importCache(progress: .discarded))
            server.change(Self.key(victim)) { tier.archive(&$0) }
            let error = await #expect(throws: CacheError.self) {
                try await before.blobs.bytes(of: victim.descriptor)
            }
            #expect(error?.code == .notFound)
            #expect(error?.cause is ArchivedBlob)
            #expect(error?.message.contains("archived and cannot be read now") == true)

            let found = try #require(try await cache(Self.plain).importCache(progress: .discarded))
            #expect(found.graph == sample.graph.removingResults { $0.content == .blob(victim.descriptor.digest) })
            #expect(found.problems.map(\.kind) == [.lostLayer])
            #expect(found.problems.first?.message.contains("is in the archive tier \(tier.name),") == true)

            let receipt = try await cache(Self.plain).export(sample)
            #expect(receipt.transfers[victim.descriptor.digest] == .written)
            #expect(receipt.transfers.values.count { $0 == .written } == 1)
            let healed = try #require(try await cache(Self.plain).importCache(progress: .discarded))
            #expect(healed.graph == sample.graph)
            #expect(try await healed.blobs.bytes(of: victim.descriptor) == victim.stored)
        }
    }

    @Test("is also replaced where only the copy that would refresh it tells of its tier")
    func refreshes() async throws {
        let server = ObjectServer()
        try await server.run { cache, bucket in
            let sample = try SampleCache.chain(of: 2)
            _ = try await cache(Self.plain).export(sample)
            // Sooner archived than any tier of Amazon's: neither list nor HEAD is asked for that.
            server.change(Self.key(sample.layers[0])) { object in
                Tier(storageClass: "INTELLIGENT_TIERING", days: 30).archive(&object)
            }
            let receipt = try await cache(Self.plain).export(sample)
            #expect(receipt.transfers[sample.layers[0].descriptor.digest] == .written)
            let healed = try #require(try await cache(Self.plain).importCache(progress: .discarded))
            #expect(try await healed.blobs.bytes(of: sample.layers[0].descriptor) == sample.layers[0].stored)
        }
    }

    @Test("is present while a restored copy of it can be read")
    func restored() async throws {
        let server = ObjectServer()
        try await server.run { cache, bucket in
            let sample = try SampleCache.chain(of: 2)
            _ = try await cache(Self.plain).export(sample)
            server.change(Self.key(sample.layers[0])) { object in
                object.storageClass = "GLACIER"
                object.headers = [
                    ("x-amz-restore", #"ongoing-request="false", expiry-date="Fri, 21 Dec 2029 00:00:00 GMT""#)
                ]
            }
            let found = try #require(try await cache(Self.plain).importCache(progress: .discarded))
            #expect(found.graph == sample.graph)
            #expect(found.problems == [])
        }
    }

    @Test("costs no request where the class is one that is always readable", arguments: ["STANDARD_IA", "GLACIER_IR"])
    func readableClasses(_ storageClass: String) async throws {
        let server = ObjectServer()
        try await server.run { cache, bucket in
            let sample = try SampleCache.chain(of: 2)
            _ = try await cache(Self.plain).export(sample)
            server.change(Self.key(sample.layers[0])) { $0.storageClass = storageClass }
            let before = server.requests.count
            _ = try await cache(Self.plain).importCache(progress: .discarded)
            #expect(server.requests.count - before == 2)
        }
    }

    @Test(
        "is an error that says so where it is the config; it is replaced only if the caller allows that",
        arguments: tiers)
    func configs(_ tier: Tier) async throws {
        let server = ObjectServer()
        try await server.run { cache, bucket in
            let sample = try SampleCache.chain(of: 2)
            _ = try await cache(Self.plain).export(sample)
            func archive() { server.change("manifests/buildkit") { tier.archive(&$0) } }
            archive()
            let read = await #expect(throws: CacheError.self) {
                _ = try await cache(Self.plain).importCache(progress: .discarded)
            }
            #expect(read?.code == .notFound)
            #expect(read?.cause is ArchivedBlob)
            let written = await #expect(throws: CacheError.self) { try await cache(Self.plain).export(sample) }
            #expect(written?.code == .occupied)
            #expect(written?.message.contains("which cannot be read and may not be a cache") == true)

            let plan = try await cache(Self.plain).planPrune(Retention(maximumAge: .zero))
            #expect(plan.removedNames == [])
            #expect(plan.problems.first?.message.contains("archived and cannot be read now") == true)

            for policy in [WritePolicy.replace, .merge] {
                archive()
                var options = ExportOptions(mode: .max, writePolicy: policy)
                options.replacesOtherContent = true
                _ = try await cache(options).export(sample)
                let found = try #require(try await cache(Self.plain).importCache(progress: .discarded))
                #expect(found.graph == sample.graph)
            }
        }
    }

    @Test("is not a cache where it is the placeholder of a folder: it is not counted, and keeps no layer")
    func placeholders() async throws {
        let server = ObjectServer()
        try await server.run { cache, bucket in
            let sample = try SampleCache.chain(of: 2)
            _ = try await cache(Self.plain).export(sample)
            let later = Timestamp(seconds: Timestamp.now().seconds + 30 * 86_400) ?? .zero
            for key in ["manifests/", "manifests/feature/", "manifests/a/b/", "blobs/"] {
                server.put(key, [], modified: later)
            }
            let orphan = SampleLayer("nobody needs this")
            server.put(Self.key(orphan), orphan.stored)
            let plan = try await cache(Self.plain).planPrune(Retention(maximumCount: 1), now: later)
            #expect(plan.removedNames == [])
            #expect(plan.blobs.map(\.digest) == [orphan.descriptor.digest])
            _ = try await cache(Self.plain).prune(plan)
            let found = try #require(try await cache(Self.plain).importCache(progress: .discarded))
            #expect(found.graph == sample.graph)
            #expect(server.keys.contains("manifests/feature/"))
            // Also where a name leads to one.
            server.put("manifests/buildkit", [])
            #expect(try await cache(Self.plain).importCache(progress: .discarded) == nil)
            _ = try await cache(Self.plain).export(sample)
            #expect(try await cache(Self.plain).importCache(progress: .discarded)?.graph == sample.graph)
        }
    }

    @Test("is replaced by the next export of a process that has read other bytes than its own")
    func damage() async throws {
        let server = ObjectServer()
        try await server.run { cache, bucket in
            let sample = try SampleCache.chain(of: 3)
            let victim = sample.layers[1]
            _ = try await cache(Self.plain).export(sample)
            let found = try #require(try await cache(Self.plain).importCache(progress: .discarded))
            server.change(Self.key(victim)) { $0.bytes[0] ^= 1 }
            let error = await #expect(throws: CacheError.self) { try await found.blobs.bytes(of: victim.descriptor) }
            #expect(error?.code == .corrupted)
            // It counts as lost until then.
            let without = try #require(try await cache(Self.plain).importCache(progress: .discarded))
            #expect(without.graph == sample.graph.removingResults { $0.content == .blob(victim.descriptor.digest) })
            for outcome in [PutOutcome.written, .alreadyPresent] {
                #expect(try await cache(Self.plain).export(sample).transfers[victim.descriptor.digest] == outcome)
            }
            let healed = try #require(try await cache(Self.plain).importCache(progress: .discarded))
            #expect(healed.graph == sample.graph)
            #expect(try await healed.blobs.bytes(of: victim.descriptor) == victim.stored)
        }
    }
}
