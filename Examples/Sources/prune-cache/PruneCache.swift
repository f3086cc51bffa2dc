// Says what a retention would remove from a cache, and with --apply removes it; exports may go on meanwhile.
//
//     swift run prune-cache --cache type=local,dest=.cache --keep-count 10 --keep-days 30 --protect main     (or --json, --apply)
//
//     keep   main: protected by "main"
//     remove feature-1: too old
//     remove 1 of 2 names and 3 blobs, 12345 bytes
//     nothing is removed without --apply
import ArgumentParser
import BuildCache
import ExampleSupport

@main
struct PruneCache: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "prune-cache", abstract: "Prunes a build cache.")
    @Option(help: "The cache to prune, as docker buildx --cache-to takes it.") var cache: String
    @Option(help: "Names that were written longer ago go.") var keepDays: Int64?
    @Option(help: "So many of the newest names stay.") var keepCount: Int?
    @Option(help: "MiB that all names together may reach.") var keepMebibytes: Int64?
    @Option(help: "A name that stays whatever the limits say; * is any text.") var protect: [String] = []
    @Option(help: "Blobs stay that were written or renewed within so many hours.") var graceHours: Int64 = 48
    @Flag(help: "Remove it.") var apply = false
    @Flag(name: .customLong("json"), help: "Print JSON.") var asJSON = false

    func validate() throws {
        let numbers = [keepDays, keepCount.map { Int64($0) }, keepMebibytes, graceHours].compactMap { $0 }
        // More than a million is no limit of a cache, and might be more than a number of bytes or seconds holds.
        guard numbers.allSatisfy({ (0...1_000_000).contains($0) }) else {
            throw ValidationError("limits are numbers from 0 to 1000000")
        }
    }

    private struct Result: Encodable {
        struct Name: Encodable { var name: String, isRemoved: Bool, why: String }
        struct Removed: Encodable { var names: [String], blobs: Int, bytes: Int64 }
        var names: [Name]
        var blobs: [String]
        var bytes: Int64
        var warnings: [String]
        var removed: Removed?
    }

    func run() async throws {
        let retention = Retention(
            maximumAge: keepDays.map { .seconds($0 * 86_400) }, maximumCount: keepCount,
            maximumBytes: keepMebibytes.map { $0 << 20 }, protectedNames: protect,
            gracePeriod: .seconds(graceHours * 3600))
        try await ScratchStore.withTemporary { scratch in
            let spec = try CacheSpec(cache, for: .export)
            guard let backend = try spec.makeBackend(scratch: scratch) as? any PrunableBackend else {
                throw CacheError(.unsupported, "\(spec) cannot be pruned")
            }
            let plan = try await backend.planPrune(retention)
            if !asJSON { print(plan) }
            let report = apply ? try await backend.prune(plan) : nil
            if asJSON {
                print(
                    try json(
                        Result(
                            names: plan.names.map {
                                .init(name: $0.stored.name, isRemoved: $0.verdict.isRemoval, why: "\($0.verdict)")
                            },
                            blobs: plan.blobs.map(\.id), bytes: plan.freedBytes, warnings: plan.problems,
                            removed: report.map {
                                .init(names: $0.removedNames, blobs: $0.removedBlobs.count, bytes: $0.freedBytes)
                            })))
            } else {
                print(report.map { "\($0)" } ?? "nothing is removed without --apply")
            }
        }
    }
}
