// Copies build caches: reads all sources, unites them, and writes every destination as its options ask.
//
//     swift run copy-cache --from type=local,src=a --to type=local,dest=b
//     swift run copy-cache --from type=local,src=a --to type=local,dest=zstd,compression=zstd,force-compression=true --json
//     swift run copy-cache --from type=local,src=a --to type=local,dest=b --verify-key old.pub --require-signature --sign-key new.pem
//
//     from type=local,src=a: 7 records, 5 layers
//     to type=local,dest=b: 7 blobs copied, 0 skipped, 0 converted; latest is sha256:…
import ArgumentParser
import BuildCache
import ExampleSupport
import Foundation

@main
struct CopyCache: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "copy-cache", abstract: "Copies build caches.")
    @Option(help: "A cache to read, as docker buildx --cache-from takes it.") var from: [String]
    @Option(help: "A cache to write, as docker buildx --cache-to takes it.") var to: [String]
    @Flag(help: "Print JSON.") var json = false
    @OptionGroup var options: SigningOptions

    func validate() throws {
        if from.isEmpty || to.isEmpty { throw ValidationError("at least one --from and one --to are needed") }
    }

    func run() async throws {
        let (verification, signing) = (try options.verification(), try options.signing())
        let report = try await ProgressBar.show { [from, to] bar in
            try await ScratchStore.withTemporary { scratch in
                var client = try CacheClient(cacheFrom: from, cacheTo: to, scratch: scratch, signing: signing)
                for source in client.sources.indices { client.sources[source].verification = verification }
                return try await client.copyCaches { bar.report($1, of: $0) }
            }
        }
        for outcome in report.imported.outcomes {
            guard case .success(let cache?) = outcome.result else { continue }
            for problem in cache.problems { FileHandle.standardError.write(Data("warning: \(problem)\n".utf8)) }
            if json { continue }
            print("from \(outcome.source): \(cache.graph.recordCount) records, \(cache.graph.layerIDs.count) layers")
        }
        for outcome in report.exported.outcomes { try show(outcome) }
        try report.exported.check()
    }

    private struct Row: Encodable {
        var destination: String
        var published: [String: String] = [:]
        var copied = 0
        var skipped = 0
        var converted = 0
        var problems: [String] = []
        var error: String?
    }

    private func show(_ outcome: ExportReport.Outcome) throws {
        var row = Row(destination: outcome.destination)
        switch outcome.result {
        case .success(let receipt):
            row.published = receipt.published.mapValues { $0.digest.description }
            row.copied = receipt.transfers.values.count { $0 == .written }
            row.skipped = receipt.transfers.count - row.copied
            row.converted = receipt.converted.count
            row.problems = receipt.problems.map(\.description)
        case .failure(let error): row.error = error.description
        }
        if json {
            print(try ExampleSupport.json(row, pretty: false))
        } else if row.error == nil {
            let names = row.published.sorted { $0.key < $1.key }.map { "\($0.key) is \($0.value)" }.joined(
                separator: ", ")
            print(
                "to \(row.destination): \(row.copied) blobs copied, \(row.skipped) skipped, \(row.converted) converted; \(names)"
            )
            for problem in row.problems { print("  warning: \(problem)") }
        }
    }
}
