/// The state of packing or unpacking, reported at most 20 times a second.
public struct FilesProgress: Hashable, Sendable {
    /// Entries of layers so far.
    public var entries: Int64
    /// Bytes of tars so far.
    public var bytes: Int64
    /// The path of the last entry; bytes that are not UTF-8 are replaced.
    public var path: String

    /// Creates a state.
    public init(entries: Int64 = 0, bytes: Int64 = 0, path: String = "") {
        self.entries = entries
        self.bytes = bytes
        self.path = path
    }
}

/// Reports progress often enough for an eye, and no more often.
struct ProgressTicker {
    private let report: @Sendable (FilesProgress) -> Void
    private var last: ContinuousClock.Instant?
    private static let interval = Duration.milliseconds(50)

    init(_ report: @escaping @Sendable (FilesProgress) -> Void) { self.report = report }

    mutating func report(_ progress: @autoclosure () -> FilesProgress) {
        let now = ContinuousClock.now
        if let last, now - last < ProgressTicker.interval { return }
        last = now
        report(progress())
    }
}
