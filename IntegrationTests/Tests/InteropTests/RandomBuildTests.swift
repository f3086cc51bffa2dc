@testable import BuildCacheGraph
@testable import BuildCache
@testable import BuildCacheTesting
import Foundation
import NIOCore
@testable import TestTools
import Testing

@Suite("Random builds", .serialized)
struct RandomBuildTests {
    /// Seconds that builds go on, over all backends; `make nightly` gives 600.
    private static let seconds =
        ProcessInfo.processInfo.environment["BUILD_CACHE_ORACLE_SECONDS"].flatMap(Int.init) ?? 30

    /// The seed of a failure, to repeat it.
    private static let seed = ProcessInfo.processInfo.environment["BUILD_CACHE_ORACLE_SEED"].flatMap(UInt64.init)

    @Test("never hit a result that is not that of the step, on any backend")
    func everyHitIsRight() async throws {
        try await withS3 { s3 in
            try await Backends.run(s3: s3) { backends in
                for kind in backends.kinds {
                    let deadline = ContinuousClock.now + .seconds(Self.seconds) / backends.kinds.count
                    var builds = 0
                    var hits = 0
                    repeat {
                        let seed = Self.seed ?? .random(in: .min ... .max)
                        do {
                            let project = Project(seed: seed, backends: backends, kind: kind)
                            hits += try await project.run()
                        } catch {
                            Issue.record("seed \(seed) at \(kind): \(error)")
                            return
                        }
                        builds += 1
                    } while ContinuousClock.now < deadline || hits == 0 && builds < 20
                    // A check that never compares anything could not fail.
                    #expect(hits > 0, "\(builds) projects at \(kind)")
                }
            }
        }
    }
}

/// A hit that has other content than its step makes.
private struct WrongHit: Error, CustomStringConvertible {
    let description: String
}

/// A project that is built again and again while its sources change, two builds at a time with one scratch store.
private struct Project {
    /// One input of a step: an earlier step or a source, and how it is used.
    private struct Input {
        var index: Int
        var selector: String
        /// Whether the content of the input is an alternative key.
        var hasContentKey: Bool
    }
    private struct Step {
        var name: String
        /// The step whose layers this one stands on.
        var base: Int?
        var inputs: [Input]
    }

    private let backends: Backends
    private let kind: Backends.Kind
    private let seed: UInt64
    private let steps: [Step]
    private static let sourceCount = 4
    // Names that are equal, or only look so.
    private static let names = ["out", "out", "caf\u{e9}", "cafe\u{301}", ""]
    private static let selectors = ["", "/a", "caf\u{e9}", "cafe\u{301}", "a\0b"]

    init(seed: UInt64, backends: Backends, kind: Backends.Kind) {
        (self.backends, self.kind, self.seed) = (backends, kind, seed)
        var random = SeededGenerator(seed: seed)
        var steps: [Step] = []
        for number in 0..<Int.random(in: 2...7, using: &random) {
            let base = Bool.random(using: &random) ? steps.indices.randomElement(using: &random) : nil
            var inputs = (0..<Int.random(in: 1...2, using: &random)).map { _ in
                Input(
                    index: Int.random(in: 0..<Project.sourceCount + number, using: &random),
                    selector: Project.selectors.randomElement(using: &random) ?? "",
                    hasContentKey: Bool.random(using: &random))
            }
            // What a step stands on is a part of what it makes.
            if let base { inputs.append(Input(index: Project.sourceCount + base, selector: "", hasContentKey: false)) }
            // Some commands occur twice.
            steps.append(Step(name: "run \(Int.random(in: 0...4, using: &random))", base: base, inputs: inputs))
        }
        self.steps = steps
    }

    /// Builds a few times, and returns the number of hits, which all were right.
    func run() async throws -> Int {
        var random = SeededGenerator(seed: seed &+ 1)
        var hits = 0
        var versions = (0..<Project.sourceCount).map { _ in Int.random(in: 0...2, using: &random) }
        for round in 0..<3 {
            let pair = (0..<2).map { number in
                (versions, "\(seed)-\(Bool.random(using: &random) ? 0 : number)", random.next())
            }
            if kind == .inline {
                hits += try await build(pair[0].0, name: pair[0].1, round: round, seed: pair[0].2)
            } else {
                async let first = build(pair[0].0, name: pair[0].1, round: round, seed: pair[0].2)
                async let second = build(pair[1].0, name: pair[1].1, round: round, seed: pair[1].2)
                hits += try await first + second
            }
            versions[Int.random(in: versions.indices, using: &random)] += 1
            if kind == .local, Bool.random(using: &random) { try damageOneBlob(&random) }
        }
        return hits
    }

    /// The content that a source or a step has, given the versions of all sources.
    private func value(_ index: Int, _ versions: [Int]) -> Digest {
        guard index >= Project.sourceCount else { return Digest(of: "source \(index) \(versions[index])".utf8) }
        let step = steps[index - Project.sourceCount]
        let inputs = step.inputs.map { "\(value($0.index, versions)) \(Array($0.selector.utf8))" }
        return Digest(of: "\(step.name) \(inputs)".utf8)
    }

    private func tar(_ index: Int, _ versions: [Int]) -> [UInt8] {
        SampleLayer("\(value(index, versions))").tar
    }

    /// The steps whose layers a step's result has, the lowest first.
    private func chain(_ index: Int) -> [Int] {
        var chain = [index]
        while let base = steps[(chain.first ?? index) - Project.sourceCount].base {
            chain.insert(base + Project.sourceCount, at: 0)
        }
        return chain
    }

    /// One build: every step is looked up, compared or made, and all of it exported.
    private func build(_ versions: [Int], name: String, round: Int, seed: UInt64) async throws -> Int {
        var random = SeededGenerator(seed: seed)
        let export = ExportOptions(
            mode: Bool.random(using: &random) ? .max : .min,
            compression: CompressionOptions(
                type: [.gzip, .zstd, .uncompressed, .estargz].randomElement(using: &random) ?? .gzip,
                force: Bool.random(using: &random)),
            writePolicy: Bool.random(using: &random) ? .merge : .replace)
        // An image holds what other backends hold, too: it is made from a cache in a directory.
        let destination: Backends.Kind = kind == .inline ? .local : kind
        let client = CacheClient(
            sources: round == 0
                ? [] : [.init(name: "source", importer: try backends.backend(kind, name))],
            destinations: [
                .init(name: "destination", exporter: try backends.backend(destination, name, export: export))
            ])
        let session = client.openSession(store: backends.scratch)
        var records: [RecordID] = []
        for source in 0..<Project.sourceCount {
            records.append(try session.record(.record(content: value(source, versions))))
        }
        var results: [Int: [CacheSession.ResultLayer]] = [:]
        var hits = 0
        for (number, step) in steps.enumerated() {
            let index = Project.sourceCount + number
            let inputs = try step.inputs.map { input in
                var links = [Link(records[input.index], selector: input.selector)]
                if input.hasContentKey, input.index >= Project.sourceCount {
                    let key = try session.record(.record(content: value(input.index, versions)))
                    links.append(Link(key, selector: input.selector))
                }
                return links
            }
            let record = try session.record(.record(operation: Digest(of: step.name.utf8), output: 0), inputs: inputs)
            records.append(record)
            if Bool.random(using: &random) { session.prefetch(record) }
            if let hit = try await session.fetch(record) {
                try await check(hit, index, versions, in: session)
                results[index] = hit.layers.map { .stored($0) }
                hits += 1
            } else {
                let tar = tar(index, versions)
                let below = step.base.flatMap { results[$0 + Project.sourceCount] } ?? []
                let layers =
                    below + [
                        .tar(name: Project.names.randomElement(using: &random) ?? "") {
                            BlobStream(ByteBuffer(bytes: tar))
                        }
                    ]
                try session.addResult(
                    layers, createdAt: Bool.random(using: &random) ? .zero : .now(), to: record)
                results[index] = layers
            }
        }
        try await session.exportCaches().check()
        session.close()
        if kind == .inline {
            let cache = try #require(try await backends.backend(.local, name).importCache(progress: .discarded))
            guard cache.graph.hasResults else { return hits }
            try await backends.makeImage(of: cache)
            try await backends.put(cache, .inline, name)
            cache.close()
        }
        return hits
    }

    /// Compares the layers of a hit with those that the step makes.
    private func check(_ hit: CacheHit, _ index: Int, _ versions: [Int], in session: CacheSession) async throws {
        let chain = chain(index)
        guard hit.layers.count == chain.count else {
            throw WrongHit(description: "step \(index) has \(hit.layers.count) layers instead of \(chain.count)")
        }
        for (layer, step) in zip(hit.layers, chain) {
            var tar: [UInt8] = []
            for try await chunk in try await session.blobs.openTar(of: layer) { tar += chunk.readableBytesView }
            let expected = self.tar(step, versions)
            // The tar of an eStargz layer ends with its table of contents.
            let isRight = tar.starts(with: expected.dropLast(1024))
            guard isRight else { throw WrongHit(description: "step \(index) has other bytes in the layer of \(step)") }
        }
    }

    private func damageOneBlob(_ random: inout SeededGenerator) throws {
        let folder = backends.directory.path + "/local/blobs/sha256"
        let names = try FileManager.default.contentsOfDirectory(atPath: folder).sorted()
        guard let name = names.randomElement(using: &random) else { return }
        let file = URL(fileURLWithPath: folder + "/" + name)
        var bytes = try Data(contentsOf: file)
        guard !bytes.isEmpty else { return }
        bytes[Int.random(in: bytes.indices, using: &random)] ^= 1
        // Blobs are read-only, and a reader may have the old file open.
        try FileManager.default.removeItem(at: file)
        try bytes.write(to: file)
    }
}
