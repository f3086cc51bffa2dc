public import BuildCacheCore

extension PrunableBackend {
    /// Finds out what a prune would remove, and changes nothing.
    ///
    /// - Parameters:
    ///   - retention: What stays.
    ///   - now: The moment that ages are counted to. One in the future makes everything look older: that is as good as a shorter grace
    ///     period, and as dangerous.
    /// - Throws: `CacheError` `.invalidSpec` for a negative limit, or a grace period that is too short for the store; what
    ///   ``openForPruning(isReadOnly:)`` and the store throw.
    public func planPrune(_ retention: Retention, now: Timestamp = .now()) async throws -> PrunePlan {
        let store = try await openForPruning(isReadOnly: true)
        try retention.validate(renewalAge: store.renewalAge)
        // Names first, as in a prune: a blob that is listed after them and that no name reaches is new.
        let names = try await store.names()
        return PrunePlan(
            backend: traits.name, retention, now: now, names: names, blobs: try await store.blobs(),
            removesSharedVersions: store.removesSharedVersions)
    }

    /// Removes what a plan says, except what has changed since: names first, then blobs.
    ///
    /// Looks again before it removes: a name that somebody wrote since then stays, and so does a blob that was renewed or that any name
    /// reaches now. If a name cannot be read now, all blobs stay, with a warning. Exports may go on meanwhile.
    ///
    /// Cancelled, or broken off by an error, it has removed a part of the plan and nothing else; plan again for the rest.
    ///
    /// - Throws: `CacheError` `.denied` and `.unavailable` of the store, `.busy` of its lock, `.unsupported` if it forbids
    ///   to remove anything; `CancellationError`.
    @discardableResult
    public func prune(_ plan: PrunePlan, progress: ProgressSink = .discarded) async throws -> PruneReport {
        let store = try await openForPruning(isReadOnly: false)
        try plan.retention.validate(renewalAge: store.renewalAge)
        var report = PruneReport()
        try await removeNames(of: plan, from: store, &report)
        try await removeBlobs(of: plan, from: store, &report)
        for warning in report.warnings { progress(.warning(warning)) }
        return report
    }

    private func removeNames(
        of plan: PrunePlan, from store: any PrunableStore, _ report: inout PruneReport
    ) async throws {
        let planned = plan.removedNames
        guard !planned.isEmpty else { return }
        let present = Dictionary(try await store.names().map { ($0.name, $0) }) { first, _ in first }
        var staying = present
        for name in planned where present[name.name]?.version == name.version { staying[name.name] = nil }
        let shared = store.removesSharedVersions ? Set(staying.values.map(\.version)) : []
        for name in planned {
            try Task.checkCancellation()
            guard let found = present[name.name] else { continue }
            if found.version == name.version, !shared.contains(name.version), try await store.remove(found) {
                report.removedNames.append(name.name)
                report.freedBytes = report.freedBytes.saturatingAdding(name.documentBytes)
            } else {
                report.changedNames.append(name.name)
            }
        }
    }

    private func removeBlobs(
        of plan: PrunePlan, from store: any PrunableStore, _ report: inout PruneReport
    ) async throws {
        report.warnings = plan.warnings
        guard !plan.blobs.isEmpty else { return }
        // What makes this safe: when the names are listed here, every blob of the plan is older than the grace period. An export that
        // relies on one without having renewed it began longer ago than that, less the renewal age, and so has published its name by
        // now. An export that renewed one since changed it, so that it is not removed.
        let reach = Reach(try await store.names())
        report.warnings += reach.warnings.filter { !plan.warnings.contains($0) }
        let unreached = plan.blobs.filter { !reach.holds($0) }
        let removed = try await unreached.mapConcurrently(limit: traits.transfersInFlight) { blob -> StoredBlob? in
            try Task.checkCancellation()
            return try await store.remove(blob) ? blob : nil
        }.compactMap { $0 }
        report.removedBlobs = removed
        report.changedBlobs = plan.blobs.count - removed.count
        report.freedBytes = report.freedBytes.saturatingAdding(removed.map(\.size).saturatingSum())
    }
}

/// What a prune did.
public struct PruneReport: Hashable, Sendable {
    /// The names that are gone, oldest first.
    public internal(set) var removedNames: [String] = []
    /// Names of the plan that stay, because somebody wrote them since.
    public internal(set) var changedNames: [String] = []
    /// The blobs that are gone.
    public internal(set) var removedBlobs: [StoredBlob] = []
    /// How many blobs of the plan stay: renewed, reached by a name now, or gone already.
    public internal(set) var changedBlobs = 0
    /// Bytes, as stored, of all that is gone.
    public internal(set) var freedBytes: Int64 = 0
    /// What keeps blobs, and who removes them where that is not for us to do; for people.
    public internal(set) var warnings: [String] = []
}

extension PruneReport: CustomStringConvertible {
    /// A line of what is gone, one of what stays against the plan, and one for each warning.
    public var description: String {
        var lines = ["removed \(removedNames.count) names and \(removedBlobs.count) blobs, \(freedBytes) bytes"]
        if !changedNames.isEmpty || changedBlobs > 0 {
            lines.append("\(changedNames.count) names and \(changedBlobs) blobs changed meanwhile and stay")
        }
        return (lines + warnings.map { "note: \($0.oneLine)" }).joined(separator: "\n")
    }
}
