// Lists the caches of a store and checks each layer of them; changes nothing. Exits with 2 if anything is damaged.
//
//     swift run verify-cache --cache type=local,dest=.cache                (or --every-byte, --json)
//
//     cache  main       2026-11-25T08:15:12Z  5 layers, 201.3 KiB, and 4.1 KiB of documents
//     image  app        2026-11-20T10:02:44Z  3 layers, 12.0 MiB, and 1.2 KiB of documents
//     1 caches, 5 layers, 206131 bytes: 1 damaged
//     main: sha256:9f86…: corrupted: the blob's digest is sha256:1b4f…
import ArgumentParser
import BuildCache
import ExampleSupport
import Foundation

@main
struct VerifyCache: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify-cache", abstract: "Lists and verifies the caches of a store.")
    @Option(help: "Any cache of the store, as docker buildx --cache-to takes it.") var cache: String
    @Flag(help: "Read each layer, and check its digest and diffID.") var everyByte = false
    @Flag(name: .customLong("json"), help: "Print JSON.") var asJSON = false

    fileprivate struct Result: Encodable {
        struct Cache: Encodable {
            var name: String, isCache: Bool, modifiedAt: String?, layers: Int?, layerBytes: Int64?
            var documentBytes: Int64, problem: String?
        }
        struct Damage: Encodable { var names: [String], digest: String?, kind: String, message: String }
        var caches: [Cache], isSound: Bool, layers: Int, bytes: Int64, damaged: [Damage], problems: [String]
    }

    func run() async throws {
        let report = try await ScratchStore.withTemporary { scratch in
            let backend = try CacheSpec(cache, for: .export).makePrunable(scratch: scratch)
            let caches = try await backend.caches()
            let depth: VerificationReport.Depth = everyByte ? .everyByte : .presence
            let report = try await ProgressBar.show { bar in
                try await backend.verifyAll(depth, progress: ProgressSink { bar.report($0) })
            }
            if asJSON {
                print(try json(Result(caches, report)))
            } else {
                printText(caches, report)
            }
            return report
        }
        if !report.isSound { throw ExitCode(2) }
    }

    private func printText(_ caches: [StoredName], _ report: VerificationReport) {
        let width = caches.map { plain($0.name).count }.max() ?? 0
        for cache in caches {
            let name = plain(cache.name).padding(toLength: width, withPad: " ", startingAt: 0)
            let layers = cache.layerCount.map { "\($0) layers, \(size(cache.bytesOfLayers ?? 0))" } ?? "unknown layers"
            let problem = cache.problem.map { "; \(plain($0))" } ?? ""
            print(
                cache.isCache ? "cache " : "other ", name, cache.modifiedAt?.description ?? "unknown time",
                "\(layers), and \(size(cache.bytesOfDocuments)) of documents\(problem)")
        }
        print(report)
    }
}

extension VerifyCache.Result {
    fileprivate init(_ caches: [StoredName], _ report: VerificationReport) {
        self.caches = caches.map {
            Cache(
                name: $0.name, isCache: $0.isCache, modifiedAt: $0.modifiedAt?.description, layers: $0.layerCount,
                layerBytes: $0.bytesOfLayers, documentBytes: $0.bytesOfDocuments, problem: $0.problem)
        }
        (isSound, layers, bytes) = (report.isSound, report.layerCount, report.layerBytes)
        damaged = report.damaged.map {
            Damage(names: $0.names, digest: $0.digest?.description, kind: $0.kind.rawValue, message: $0.message)
        }
        problems = report.problems.map(\.description)
    }
}
