@testable import BuildCacheBytes
@testable import BuildCacheCore
@testable import BuildCacheGitHubActions
@testable import BuildCacheGraph
@testable import BuildCacheHTTP
@testable import BuildCacheTestServers
@testable import BuildCacheTesting
@testable import BuildCacheClient
import Synchronization
@testable import TestTools
import Testing

@Suite("A cache at GitHub with something wrong")
struct GitHubFaultTests {
    // MARK: Tokens

    @Test("says clearly what is the matter with the token", arguments: [1, 2])
    func tokens(_ version: Int) async throws {
        try await GitHubCacheServer().run { server, url in
            let main = [GitHubCacheServer.Permission("refs/heads/main")]
            let cases: [(Secret<String>, String)] = [
                (server.token(main, notBefore: -100, lasts: -10), "ended at"),
                (server.token(main, notBefore: 100), "valid from"),
                (server.token([.init("refs/heads/main", 1)]), "may not write"),
            ]
            for (token, words) in cases {
                try await withCache(server, url, version) { options in
                    options.token = token
                } _: { cache in
                    let error = await #expect(throws: CacheError.self) { try await cache.export(try .diamond()) }
                    #expect(error?.code == .denied)
                    #expect(error?.message.contains(words) == true, "\(words)")
                    #expect(error.map { "\($0)" }?.contains(token.exposed) == false)
                }
            }
            #expect(server.entries == [])
        }
    }

    @Test("says so when the token ends in the middle, and a later job heals it", arguments: [1, 2])
    func tokenEnds(_ version: Int) async throws {
        try await GitHubCacheServer().run { server, url in
            let sample = try SampleCache.diamond()
            // The service's clock jumps when the second layer is begun.
            let begun = Mutex(0)
            server.faults.set { request in
                guard request.path.hasSuffix("/caches") || request.path.hasSuffix("/CreateCacheEntry") else {
                    return nil
                }
                let count = begun.withLock { count in
                    count += 1
                    return count
                }
                if count == 2 { server.faults.advanceClock(bySeconds: 2000) }
                return nil
            }
            try await withCache(server, url, version) { options in
                // The addresses of uploads last an hour, the token does not.
                options.token = server.token(lasts: 1000)
            } _: { cache in
                let error = await #expect(throws: CacheError.self) { try await cache.export(sample) }
                #expect(error?.code == .denied)
                #expect(error?.message.contains("as long as the job") == true)
            }
            server.faults.clear()
            server.faults.advanceClock(bySeconds: 90_000)
            #expect(!server.entries.contains { $0.key.hasPrefix("index-") })
            let later = server.token(lasts: 200_000)
            var client = GitHubActionsClient.immediate()
            let now = server.faults.now
            client.now = { now }
            try await withCache(server, url, version, client: client) { options in
                options.token = later
            } _: { cache in
                _ = try await cache.export(sample)
                #expect(try await #require(try await cache.imported()).verifies(sample))
            }
        }
    }

    // MARK: Scopes

    @Test("reads every scope that the token may read, and writes to the last that it may write", arguments: [1, 2])
    func scopes(_ version: Int) async throws {
        try await GitHubCacheServer().run { server, url in
            let main = try SampleCache.diamond("main")
            let branch = try SampleCache.diamond("branch")
            try await withCache(server, url, version) { cache in _ = try await cache.export(main) }
            let token = server.token([.init("refs/heads/main", 1), .init("refs/heads/branch", 3)])
            try await withCache(server, url, version) { options in
                options.token = token
            } _: { cache in
                #expect(try await cache.imported()?.graph == main.graph)
                _ = try await cache.export(branch)
                let cache = try #require(try await cache.imported())
                #expect(cache.parts.map(\.graph) == [branch.graph, main.graph])
            }
            // What the branch wrote is none of the main branch's business.
            try await withCache(server, url, version) { cache in
                let found = try await cache.imported()
                #expect(found?.graph == main.graph)
            }
        }
    }

    @Test("is not misled by longer keys and signatures", arguments: [1, 2])
    func prefixes(_ version: Int) async throws {
        try await GitHubCacheServer().run { server, url in
            let sample = try SampleCache.diamond()
            func trap(_ key: String) {
                server.put(
                    .init(
                        key: key, scope: "refs/heads/main",
                        version: "693bb7016429d80366022f036f84856888c9f13e00145f5f6f4dce303a38d6f2",
                        bytes: Array("trap".utf8)))
            }
            trap("index-buildkit-1-f921bd05-sig#7")
            for layer in sample.layers { trap("buildkit-blob-1-\(layer.descriptor.digest)-sig") }
            try await withCache(server, url, version) { cache in
                #expect(try await cache.imported() == nil)
                let receipt = try await cache.export(sample)
                #expect(receipt.transfers.values.allSatisfy { $0 == .written })
                #expect(receipt.published.keys.sorted() == ["index-buildkit-1-f921bd05#1"])
                #expect(try await #require(try await cache.imported()).verifies(sample))
            }
        }
    }

    // MARK: Evictions

    @Test("misses what was evicted, and the next export heals", arguments: [1, 2])
    func evictions(_ version: Int) async throws {
        try await GitHubCacheServer().run { server, url in
            let sample = try SampleCache.diamond()
            let victim = sample.layers[1].descriptor
            try await withCache(server, url, version) { cache in
                _ = try await cache.export(sample)
                let before = try #require(try await cache.imported())
                server.evict { $0.hasSuffix(victim.digest.hex) }
                // Found before, and gone when it is wanted.
                let error = await #expect(throws: CacheError.self) { try await before.blobs.bytes(of: victim) }
                #expect(error?.code == .notFound)
                let after = try #require(try await cache.imported())
                #expect(after.graph == sample.graph.removingResults { $0.content == .blob(victim.digest) })
                #expect(after.problems.count == 1)
                // An index alone is a cache without results.
                server.evict { $0.hasPrefix("buildkit-blob-") }
                let index = try #require(try await cache.imported())
                #expect(index.graph.recordCount == sample.graph.recordCount)
                #expect(try index.graph.recordIDs.allSatisfy { try index.graph[$0].results.isEmpty })
                _ = try await cache.export(sample)
                #expect(try await #require(try await cache.imported()).verifies(sample))
            }
        }
    }

    @Test("asks for a new address when one has ended, also in the middle of a layer", arguments: [1, 2])
    func addressesEnd(_ version: Int) async throws {
        try await GitHubCacheServer().run { server, url in
            // So large that it comes in several ranges.
            let layer = SampleLayer(String(repeating: "0123456789", count: 2_000_000), isCompressed: false)
            let sample = try SampleCache.single(layer)
            try await withCache(server, url, version) { options in
                options.token = server.token(lasts: 100_000)
            } _: { cache in
                _ = try await cache.export(sample)
                let cache = try #require(try await cache.imported())
                server.faults.forgetRequests()
                // Addresses last an hour.
                let reads = Mutex(0)
                server.faults.set { request in
                    guard request.method == "GET", request.path.contains("/entry-") else { return nil }
                    let count = reads.withLock { count in
                        count += 1
                        return count
                    }
                    if count == 3 { server.faults.advanceClock(bySeconds: 4000) }
                    return nil
                }
                #expect(try await cache.blobs.bytes(of: layer.descriptor) == layer.stored)
                #expect(server.faults.requests.contains { !$0.path.contains("/entry-") })
            }
        }
    }

    @Test("survives a job that broke off in the middle of a layer or of the index", arguments: [1, 2])
    func brokenOff(_ version: Int) async throws {
        try await GitHubCacheServer().run { server, url in
            let sample = try SampleCache.diamond()
            let (scope, entryVersion) = (
                "refs/heads/main", "693bb7016429d80366022f036f84856888c9f13e00145f5f6f4dce303a38d6f2"
            )
            let victim = sample.layers[0].descriptor.digest
            server.reserve("buildkit-blob-1-\(victim)", scope: scope, version: entryVersion)
            server.reserve("index-buildkit-1-f921bd05#1", scope: scope, version: entryVersion)
            try await withCache(server, url, version) { cache in
                let receipt = try await cache.export(sample)
                #expect(receipt.problems.count == 1)
                // The number that somebody began is passed over, and the layer is a miss.
                #expect(receipt.published.keys.sorted() == ["index-buildkit-1-f921bd05#2"])
                let found = try #require(try await cache.imported())
                #expect(found.graph == sample.graph.removingResults { $0.content == .blob(victim) })
                // GitHub forgets such entries.
                server.evict { $0.hasSuffix(victim.hex) }
                _ = try await cache.export(sample)
                #expect(try await #require(try await cache.imported()).verifies(sample))
            }
        }
    }

    // MARK: Answers

    @Test("waits when it is told to come later, and slows down instead of failing", arguments: [1, 2])
    func tooManyRequests(_ version: Int) async throws {
        try await GitHubCacheServer().run { server, url in
            let sample = try SampleCache.diamond()
            let clock = ImmediateClock()
            let start = clock.now
            // The first two requests of each kind: no operation sees more refusals than it has tries, whatever comes first.
            let seen = Mutex<[String: Int]>([:])
            server.faults.set { request in
                let count = seen.withLock { seen in
                    seen[request.method + request.path, default: 0] += 1
                    return seen[request.method + request.path, default: 0]
                }
                return count <= 2
                    ? .answer(429, headers: [("Retry-After", "3")], body: "slow down") : nil
            }
            try await withCache(server, url, version, client: .immediate(clock)) { cache in
                _ = try await cache.export(sample)
                #expect(try await #require(try await cache.imported()).verifies(sample))
            }
            #expect(start.duration(to: clock.now) >= .seconds(6))
        }
    }

    @Test("gives up when the service wants more patience than was allowed", arguments: [1, 2])
    func patienceEnds(_ version: Int) async throws {
        try await GitHubCacheServer().run { server, url in
            server.faults.set { _ in .answer(429, headers: [("Retry-After", "60")]) }
            try await withCache(server, url, version) { options in
                options.timeout = .seconds(100)
            } _: { cache in
                let error = await #expect(throws: CacheError.self) { try await cache.export(try .diamond()) }
                #expect(error?.code == .unavailable)
                #expect(error?.retry == .exhausted)
            }
            #expect(server.faults.requests.count > 1)
        }
    }

    @Test("keeps to the uploads of a minute, so that the service has nothing to refuse")
    func uploadsOfAMinute() async throws {
        try await GitHubCacheServer(uploadsPerMinute: 200).run { server, url in
            let sample = try SampleCache.chain(of: 250)
            let clock = ImmediateClock()
            let start = clock.now
            // The service lives in the client's time.
            server.faults.set { _ in
                let ahead = start.duration(to: clock.now).components.seconds
                let now = server.faults.secondsAhead
                if ahead > now { server.faults.advanceClock(bySeconds: ahead - now) }
                return nil
            }
            try await withCache(server, url, 2, client: .immediate(clock)) { cache in
                _ = try await cache.export(sample)
            }
            #expect(server.entries.count == 251)
            #expect(start.duration(to: clock.now) == .seconds(60))
        }
    }

    @Test(
        "reports an index that cannot be stored as an error, and readers see what was there", arguments: [1, 2])
    func indexFails(_ version: Int) async throws {
        try await GitHubCacheServer().run { server, url in
            let old = try SampleCache.diamond("old")
            let new = try SampleCache.diamond("new")
            try await withCache(server, url, version) { cache in
                _ = try await cache.export(old)
                let blobs = server.entries.count + new.layers.count
                // Everything but the index is there by then.
                server.faults.set { request in
                    (request.method == "PATCH" || (request.method == "PUT" && request.path.contains("/entry-")))
                        && server.entries.count >= blobs ? .answer(500, body: "<html>no</html>") : nil
                }
                let error = await #expect(throws: CacheError.self) { try await cache.export(new) }
                #expect(error?.code == .unavailable)
                server.faults.clear()
                #expect(try await cache.imported()?.graph == old.graph)
                _ = try await cache.export(new)
                #expect(try await #require(try await cache.imported()).verifies(new))
            }
        }
    }

    @Test("reads errors that are no JSON, or begin with a byte order mark", arguments: [1, 2])
    func oddBodies(_ version: Int) async throws {
        try await GitHubCacheServer().run { server, url in
            server.writeByteOrderMarks()
            let sample = try SampleCache.diamond()
            let htmlSent = Mutex(0)
            server.faults.set { _ in
                let count = htmlSent.withLock { count in
                    count += 1
                    return count
                }
                return count % 3 == 0
                    ? .answer(503, headers: [("Content-Type", "text/html")], body: "<html><b>Unicorn!</b></html>") : nil
            }
            try await withCache(server, url, version) { cache in
                _ = try await cache.export(sample)
                #expect(try await #require(try await cache.imported()).verifies(sample))
                server.faults.set { _ in .answer(503, body: "<html><b>Unicorn!</b></html>") }
                let error = await #expect(throws: CacheError.self) { try await cache.imported() }
                #expect(error?.code == .unavailable)
                #expect(error?.message.contains("503") == true)
            }
        }
    }

    @Test("succeeds a hundred times in a row when one request in ten fails", arguments: [1, 2])
    func randomFaults(_ version: Int) async throws {
        try await GitHubCacheServer(uploadsPerMinute: .max).run { server, url in
            try await withCache(server, url, version) { cache in
                for seed in 0..<100 {
                    let generator = Mutex(SeededGenerator(seed: UInt64(seed)))
                    server.faults.set { request in
                        generator.withLock { generator in
                            guard Int.random(in: 0..<10, using: &generator) == 0 else { return nil }
                            let faults: [ServerFault] = [
                                .reset, .answer(500), .answer(503, body: "<html></html>"),
                                .answer(429, headers: [("Retry-After", "1")]), .truncated(after: 100), .lostAnswer,
                            ]
                            let fault = faults.randomElement(using: &generator)
                            // An entry that was begun without anybody knowing blocks its key, at GitHub as here.
                            let begins =
                                request.path.hasSuffix("/caches") || request.path.hasSuffix("/CreateCacheEntry")
                            return begins ? .reset : fault
                        }
                    }
                    let sample = try SampleCache.diamond("run \(seed)")
                    _ = try await cache.export(sample)
                    let found = try #require(try await cache.imported())
                    #expect(try await found.verifies(sample), "seed \(seed)")
                }
            }
        }
    }

    // MARK: Parallel jobs

    @Test("keeps what a parallel job wrote meanwhile, if it is asked to", arguments: [1, 2])
    func merges(_ version: Int) async throws {
        try await GitHubCacheServer().run { server, url in
            let (first, second) = (try SampleCache.diamond("first"), try SampleCache.diamond("second"))
            try await withCache(server, url, version, writePolicy: .merge) { one in
                try await withCache(server, url, version, writePolicy: .merge) { other in
                    // Both jobs begin with the same cache: none.
                    #expect(try await one.imported() == nil)
                    #expect(try await other.imported() == nil)
                    _ = try await one.export(first)
                    _ = try await other.export(second)
                    var both = first.graph
                    try both.merge(second.graph)
                    #expect(try await one.imported()?.graph == both)
                    // Nothing new is no new version.
                    let receipt = try await one.export(first)
                    #expect(try await other.imported()?.graph == both)
                    #expect(receipt.published.keys.allSatisfy { $0.hasSuffix("#2") })
                }
            }
        }
    }

    @Test(
        "stores what there is once more where readers would take an older version for the newest, if it is asked to merge",
        arguments: [1, 2])
    func slowVersion(_ version: Int) async throws {
        try await GitHubCacheServer().run { server, url in
            let (first, second) = (try SampleCache.diamond("first"), try SampleCache.diamond("second"))
            try await withCache(server, url, version, writePolicy: .merge) { cache in
                _ = try await cache.export(first)
                _ = try await cache.export(second)
                // As if the job that stored the first version had ended it only now.
                let slow = try #require(server.entries.first { $0.key.hasSuffix("#1") })
                server.evict { $0 == slow.key }
                server.put(slow)
                #expect(try await cache.imported()?.graph == first.graph)

                // Of this there is nothing to add to the second version.
                let receipt = try await cache.export(second)
                #expect(receipt.published.keys.allSatisfy { $0.hasSuffix("#3") })
                var both = first.graph
                try both.merge(second.graph)
                #expect(try await cache.imported()?.graph == both)
            }
        }
    }

    @Test("gives a key to one of those jobs that begin it at the same time", arguments: [1, 2])
    func reservesOnce(_ version: Int) async throws {
        try await GitHubCacheServer(uploadsPerMinute: .max).run { server, url in
            let sample = try SampleCache.chain(of: 30)
            try await withCache(server, url, version) { cache in
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for _ in 0..<4 { group.addTask { _ = try await cache.export(sample) } }
                    try await group.waitForAll()
                }
                let keys = server.entries.map(\.key)
                #expect(Set(keys).count == keys.count)
                #expect(try await cache.imported()?.graph == sample.graph)
            }
        }
    }

    // MARK: Listing

    @Test("lists what is there with the REST API, page by page", arguments: [1, 2])
    func listing(_ version: Int) async throws {
        try await GitHubCacheServer(uploadsPerMinute: .max).run { server, url in
            let sample = try SampleCache.chain(of: 130)
            var client = GitHubActionsClient.immediate()
            client.api = url
            let restToken = server.restToken
            try await withCache(server, url, version, client: client) { options in
                options.repository = "owner/name"
                options.ghtoken = restToken
            } _: { cache in
                _ = try await cache.export(sample)
                server.faults.forgetRequests()
                let receipt = try await cache.export(sample)
                #expect(receipt.transfers.values.allSatisfy { $0 == .alreadyPresent })
                let requests = server.faults.requests
                #expect(requests.count { $0.path.hasPrefix("/repos/owner/name/actions/caches") } == 2)
                // Beside the list only the index is looked at.
                #expect(requests.count < 6)
            }
            // Without permission to list, layers are looked up one by one.
            try await withCache(server, url, version, client: client) { options in
                options.repository = "owner/name"
                options.ghtoken = Secret("wrong")
            } _: { cache in
                let receipt = try await cache.export(sample)
                #expect(receipt.transfers.values.allSatisfy { $0 == .alreadyPresent })
                #expect(receipt.problems.count == 1)
            }
        }
    }
}
