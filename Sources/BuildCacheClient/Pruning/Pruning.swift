public import BuildCacheCore

extension PrunableBackend {
    /// Finds out what a prune would remove, and changes nothing.
    ///
    /// - Parameters:
    ///   - retention: What stays.
    ///   - now: The moment that ages are counted to. One in the future makes everything look older: that is as good as a shorter grace
    ///     period, and as dangerous.
    ///   - progress: Names and blobs as they are listed, and pauses.
    /// - Throws: `CacheError` `.invalidSpec` for a negative limit, or a grace period that is too short for the store; what
    ///   ``openForPruning(isReadOnly:)`` and the store throw.
    public func planPrune(
        _ retention: Retention, now: Timestamp = .now(), progress: ProgressSink = .discarded
    ) async throws -> PrunePlan {
        try await running(.prune, at: traits.name, progress: progress) {
            let store = try await openForPruning(isReadOnly: true)
            defer { store.close() }
            try retention.validate(renewalAge: store.renewalAge)
            // Names first, as in a prune: a blob that is listed after them and that no name reaches is new.
            let names = try await store.names()
            progress(.listedNames(names.count))
            let blobs = try await store.blobs()
            if case .listed(let blobs) = blobs { progress(.listedBlobs(blobs.count)) }
            return PrunePlan(
                backend: traits.name, retention, now: now, names: names, blobs: blobs,
                removesSharedVersions: store.removesSharedVersions)
        }
    }

    /// Removes what a plan says, except what has changed since: unused blobs first, then names, then the blobs that these leave unused.
    ///
    /// Checks again before each removal: a name that was written since then stays, and so does a blob that was refreshed or that any name
    /// reaches now. If a name cannot be read now, all blobs stay, with a problem. Exports may go on meanwhile. A full disk is no obstacle:
    /// where a name cannot be removed for want of space, the blobs that only removed names need are removed first.
    ///
    /// Does nothing if the plan is empty. Cancelled, or broken off by an error, it has removed a part of the plan and nothing else; plan
    /// again for the rest.
    ///
    /// - Throws: `CacheError` `.denied` and `.unavailable` of the store, `.busy` of its lock, `.unsupported` if it forbids
    ///   to remove anything; `CancellationError`.
    @discardableResult
    public func prune(_ plan: PrunePlan, progress: ProgressSink = .discarded) async throws -> PruneReport {
        var report = PruneReport()
        report.problems = plan.problems
        if !plan.isEmpty {
            report = try await running(.prune, at: traits.name, progress: progress) {
                let store = try await openForPruning(isReadOnly: false)
                defer { store.close() }
                try plan.retention.validate(renewalAge: store.renewalAge)
                var pruning = Pruning(
                    plan: plan, store: store, limit: traits.transfersInFlight, progress: progress, report: report)
                try await pruning.run()
                return pruning.report
            }
        }
        for problem in report.problems { progress(.problem(problem)) }
        return report
    }
}

/// A prune under way.
private struct Pruning {
    let plan: PrunePlan
    let store: any PrunableStore
    let limit: Int
    let progress: ProgressSink
    var report: PruneReport
    private var waiting: [StoredBlob]

    init(plan: PrunePlan, store: any PrunableStore, limit: Int, progress: ProgressSink, report: PruneReport) {
        self.plan = plan
        self.store = store
        self.limit = limit
        self.progress = progress
        self.report = report
        waiting = plan.blobs
    }

    mutating func run() async throws {
        let present = try await names()
        // Blobs that no name reaches need nothing but to be removed: on a full disk this makes the room that removing a name takes.
        try await removeBlobs(unreachedBy: present)
        if !plan.removedNames.isEmpty {
            do {
                try await removeNames(among: present)
            } catch let error as CacheError where error.code == .storageFull && !waiting.isEmpty {
                let doomed = Set(plan.removedNames.map { ExactText($0.name) })
                try await removeBlobs(
                    unreachedBy: try await names().filter { !doomed.contains(ExactText($0.name)) })
                try await removeNames(among: try await names())
            }
        }
        if !waiting.isEmpty { try await removeBlobs(unreachedBy: try await names()) }
        report.changedBlobs = plan.blobs.count - report.removedBlobs.count
    }

    private func names() async throws -> [StoredName] {
        let names = try await store.names()
        progress(.listedNames(names.count))
        return names
    }

    private mutating func removeNames(among found: [StoredName]) async throws {
        let present = Dictionary(found.map { (ExactText($0.name), $0) }) { first, _ in first }
        var staying = present
        for name in plan.removedNames where present[ExactText(name.name)]?.version == name.version {
            staying[ExactText(name.name)] = nil
        }
        let shared = store.removesSharedVersions ? Set(staying.values.map(\.version)) : []
        for name in plan.removedNames where !report.removedNames.contains(where: { $0.isExactly(name.name) }) {
            try Task.checkCancellation()
            guard let found = present[ExactText(name.name)] else { continue }
            if found.version == name.version, !shared.contains(name.version), try await store.remove(found) {
                report.removedNames.append(name.name)
                progress(.removedName(name.name))
                report.freedBytes = report.freedBytes.saturatingAdding(name.documentBytes)
            } else if !report.changedNames.contains(where: { $0.isExactly(name.name) }) {
                report.changedNames.append(name.name)
            }
        }
    }

    private mutating func removeBlobs(unreachedBy names: [StoredName]) async throws {
        // What makes this safe: when the names are listed here, every blob of the plan is older than the grace period. An export that
        // relies on one without having refreshed it began longer ago than that, less the refresh age, and so has published its name by
        // now. An export that refreshed one since changed it, so that it is not removed.
        let reach = Reach(names)
        report.problems += reach.allProblems.filter { !report.problems.contains($0) && !plan.problems.contains($0) }
        let unreached = waiting.filter { !reach.holds($0) }
        guard !unreached.isEmpty else { return }
        waiting = waiting.filter { reach.holds($0) }
        let removed = try await unreached.mapConcurrently(limit: limit) { [store, progress] blob -> StoredBlob? in
            try Task.checkCancellation()
            guard try await store.remove(blob) else { return nil }
            progress(.removedBlob(blob.id, bytes: blob.size))
            return blob
        }.compactMap { $0 }
        report.removedBlobs += removed
        report.freedBytes = report.freedBytes.saturatingAdding(removed.map(\.size).saturatingSum())
    }
}

/// The effects of a prune.
public struct PruneReport: Hashable, Sendable {
    /// The names that are gone, oldest first.
    public internal(set) var removedNames: [String] = []
    /// Names of the plan that stay, because they were written since, or are being read.
    public internal(set) var changedNames: [String] = []
    /// The blobs that are gone.
    public internal(set) var removedBlobs: [StoredBlob] = []
    /// The number of blobs of the plan that stay: refreshed, reached by a name now, or gone already.
    public internal(set) var changedBlobs = 0
    /// Bytes, as stored, of all that is gone.
    public internal(set) var freedBytes: Int64 = 0
    /// Why blobs stay, and how to remove them where this library does not.
    public internal(set) var problems: [CacheProblem] = []
}

extension PruneReport: CustomStringConvertible {
    /// A line for what is gone, one for what stays against the plan, and one for each problem.
    public var description: String {
        var lines = ["removed \(removedNames.count) names and \(removedBlobs.count) blobs, \(freedBytes) bytes"]
        if !changedNames.isEmpty || changedBlobs > 0 {
            lines.append(
                "\(changedNames.count) names and \(changedBlobs) blobs changed meanwhile or are being read, and stay")
        }
        return (lines + problems.map { "note: \($0)" }).joined(separator: "\n")
    }
}
