import BuildCacheCore

/// Accounts for the work of finding and merging records.
protocol WorkBudget {
    associatedtype Failure: Error
    /// Accounts for steps of work.
    mutating func spend(_ steps: Int) throws(Failure)
}

/// A budget without a limit, for graphs of the caller's own.
struct UnlimitedWork: WorkBudget {
    // The thread sanitizer reads the address of an inout argument, and a value without a size has none.
    private var size: UInt8 = 0

    func spend(_ steps: Int) {}
}

/// Bounds the work of adding records that another program wrote.
///
/// The time that a merge takes grows with its input for every graph that a build makes. A graph made to waste time meets this limit instead.
struct LimitedWork: WorkBudget {
    private let limit: Int
    private var left: Int
    private var sinceCheck = 0

    init(limit: Int) {
        self.limit = limit
        left = limit
    }

    /// A budget for adding one graph to another: seconds at most for small ones, and beyond that in proportion to what both hold.
    init(adding other: LayerGraph, to graph: LayerGraph) {
        self.init(limit: (1 << 26) + 256 * (graph.entryCount + other.entryCount))
    }

    static let unlimited = LimitedWork(limit: .max)

    /// Accounts for steps of work.
    ///
    /// - Throws: `CacheError` `.limitExceeded` once the budget is spent, `.unavailable` if the task was cancelled.
    mutating func spend(_ steps: Int) throws(CacheError) {
        guard limit < .max else { return }
        guard steps <= left else {
            throw CacheError(
                .limitExceeded,
                "merging the caches takes more than \(limit) steps, far more than their size warrants; "
                    + "leave out the cache that was added last")
        }
        left -= steps
        sinceCheck += steps
        guard sinceCheck >= 1 << 14 else { return }
        sinceCheck = 0
        if Task.isCancelled { throw CacheError(.unavailable, "the merge was cancelled") }
    }
}

extension LayerGraph {
    /// The number of entries of all kinds, for a ``LimitedWork``.
    fileprivate var entryCount: Int { records.count + links.count + results.count + layers.count }
}
