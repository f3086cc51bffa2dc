import BuildCacheBytes
import BuildCacheCore
import BuildCacheClient
import Foundation
import TestTools
import Testing

@Suite("A sweep of a layout")
struct LayoutResetTests {
    private let scratch: Scratch
    private let layout: OCILayout

    init() throws {
        scratch = try Scratch()
        layout = OCILayout(path: scratch.layout, clock: ImmediateClock())
    }

    private var blobs: Set<String> { Set(scratch.names(in: "layout/blobs/sha256")) }

    @Test("removes what no tag needs and keeps what any tag needs")
    func removesUnreachable() async throws {
        try await SampleCache("a").export(to: layout, tag: "main")
        try await SampleCache("b").export(to: layout, tag: "other")
        try await SampleCache("c").export(to: layout, tag: "main")
        try scratch.write("?", to: "layout/blobs/sha256/README")
        let result = try await layout.sweep { try await layout.reachable(from: $0) }
        // Of "a" the blob shared by all stays.
        #expect(result.blobs == 3)
        #expect(result.bytes == Int64(SampleCache("a").manifest.count + "layer of a".utf8.count + 3000))
        #expect(try await layout.verifiedTags().count == 2)
        #expect(blobs.contains("README"))
        #expect(try await layout.sweep { try await layout.reachable(from: $0) } == SweepResult())
    }

    @Test("keeps blobs that are younger than it is told")
    func age() async throws {
        let (first, second) = (Descriptor(of: [1]), Descriptor(of: [2]))
        try await SampleCache("a").export(to: layout, tag: "main")
        for blob in [first, second] { try await layout.put(blob, from: MemorySource([[1], [2]])) }
        try scratch.age("layout/blobs/sha256/" + first.digest.hex, seconds: 7200)
        let result = try await layout.sweep(olderThan: .seconds(3600)) { try await layout.reachable(from: $0) }
        #expect(result.blobs == 1)
        #expect(!blobs.contains(first.digest.hex))
        #expect(blobs.contains(second.digest.hex))
    }

    @Test("does nothing where there is no directory or no index")
    func nothingThere() async throws {
        #expect(try await layout.sweep { _ in [] } == SweepResult())
        try await layout.put(Descriptor(of: [1]), from: MemorySource([[1]]))
        #expect(try await layout.sweep { _ in [] } == SweepResult())
        #expect(blobs.count == 1)
    }

    @Test("removes nothing when the index cannot be read or followed")
    func unreadable() async throws {
        struct Unfollowed: Error {}
        try await SampleCache("a").export(to: layout, tag: "main")
        let before = blobs
        await #expect(throws: Unfollowed.self) { try await layout.sweep { _ in throw Unfollowed() } }
        try scratch.write("{", to: "layout/index.json")
        await #expect(throws: CacheError.self) { try await layout.sweep { _ in [] } }
        #expect(blobs == before)
    }

    @Test("removes nothing while an export or an import goes on")
    func inUse() async throws {
        try await SampleCache("a").export(to: layout, tag: "main")
        let before = blobs
        for lease in [try await layout.prepare(), try #require(try await layout.lease())] {
            let error = await #expect(throws: CacheError.self) { try await layout.sweep { _ in [] } }
            #expect(error?.code == .busy)
            lease.end()
        }
        #expect(blobs == before)
        #expect(try await layout.sweep { _ in [] }.blobs == before.count)
    }

    @Test("keeps exports and imports waiting until it is done")
    func excludesOthers() async throws {
        try await SampleCache("a").export(to: layout, tag: "main")
        try await layout.sweep { index in
            for attempt in 0..<2 {
                let error = await #expect(throws: CacheError.self) {
                    if attempt == 0 { _ = try await layout.prepare() } else { _ = try await layout.lease() }
                }
                #expect(error?.code == .busy)
            }
            return try await layout.reachable(from: index)
        }
        try await SampleCache("b").export(to: layout, tag: "main")
    }

    @Test("waits for an export of BuildKit and removes what one left an hour ago")
    func buildKitIngests() async throws {
        try await SampleCache("a").export(to: layout, tag: "main")
        try scratch.write("half", to: "layout/ingest/0123456789abcdef/data")
        let error = await #expect(throws: CacheError.self) { try await layout.sweep { _ in [] } }
        #expect(error?.code == .busy)
        for name in ["/data", ""] { try scratch.age("layout/ingest/0123456789abcdef" + name, seconds: 3700) }
        try await layout.sweep { try await layout.reachable(from: $0) }
        #expect(scratch.names(in: "layout/ingest") == [])
        #expect(try await layout.verifiedTags().count == 1)
    }

    @Test("between exports that find its garbage present never breaks a tag")
    func betweenExports() async throws {
        let layout = OCILayout(path: scratch.layout)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for writer in 0..<3 {
                group.addTask {
                    // Back and forth, so that each export wants what the one before made garbage.
                    for round in 0..<30 {
                        try await SampleCache("\(writer) \(round % 2)").export(to: layout, tag: "tag \(writer)")
                        do {
                            try await layout.sweep { try await layout.reachable(from: $0) }
                        } catch let error as CacheError where error.code == .busy {}
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(try await layout.verifiedTags().count == 3)
        try await layout.sweep { try await layout.reachable(from: $0) }
        #expect(try await layout.verifiedTags().count == 3)
        #expect(blobs.count == 10)
    }
}
