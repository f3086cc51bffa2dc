// Says what a retention would remove from a cache, and with --apply removes it; exports may go on meanwhile.
//
//     swift run prune-cache --cache type=local,dest=.cache --keep-count 10 --keep-days 30 --protect main     (or --json, --apply)
//
//     keep   main: protected by "main"
//     remove feature-1: too old
//     remove 1 of 2 names and 3 blobs, 12345 bytes
//     23456 bytes now, 11111 bytes after, 0 of them unused and waiting for the grace period
//     nothing is removed without --apply
import ArgumentParser
import BuildCache
import ExampleSupport

@main
struct PruneCache: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "prune-cache", abstract: "Prunes a build cache.")
    @Option(help: "The cache to prune, as docker buildx --cache-to takes it.") var cache: String
    @Option(help: "Remove names that were last written longer ago.") var keepDays: Int64?
    @Option(help: "The number of newest names that stay.") var keepCount: Int?
    @Option(help: "MiB that all names together may reach.") var keepMebibytes: Int64?
    @Option(help: "A name that stays whatever the limits say; * is any text.") var protect: [String] = []
    @Option(help: "Hours for which an unused blob stays after it was written or refreshed.") var graceHours: Int64 = 48
    @Flag(help: "Remove names whose documents cannot be read.") var removeUnreadable = false
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
        struct Bytes: Encodable { var now: Int64, after: Int64, waitingForGrace: Int64, freed: Int64 }
        var names: [Name]
        var blobs: [String]
        var bytes: Bytes
        var problems: [String]
        var removed: Removed?
    }

    func run() async throws {
        let retention = Retention(
            maximumAge: keepDays.map { .seconds($0 * 86_400) }, maximumCount: keepCount,
            maximumBytes: keepMebibytes.map { $0 << 20 }, protectedNames: protect,
            removesUnreadable: removeUnreadable, gracePeriod: .seconds(graceHours * 3600))
        try await ScratchStore.withTemporary { scratch in
            let spec = try CacheSpec(cache, for: .export)
            let backend = try spec.makePrunable(scratch: scratch)
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
                            blobs: plan.blobs.map(\.id),
                            bytes: .init(
                                now: plan.bytes.now, after: plan.bytes.after,
                                waitingForGrace: plan.bytes.waitingForGrace, freed: plan.freedBytes),
                            problems: plan.problems.map(\.description),
                            removed: report.map {
                                .init(names: $0.removedNames, blobs: $0.removedBlobs.count, bytes: $0.freedBytes)
                            })))
            } else {
                print(report.map { "\($0)" } ?? "nothing is removed without --apply")
            }
        }
    }
}
