import BuildCacheBytes
import BuildCacheCore
import BuildCacheHTTP

/// One version of the protocol of GitHub's cache service.
///
/// An entry is made in three steps and never changed after that.
protocol GitHubProtocol: Sendable {
    /// The requests that it sends.
    var requests: GitHubRequests { get set }

    /// Looks an entry up.
    ///
    /// - Parameter isPrefix: Whether a longer key will do; then the newest is meant. The answer's key may be a longer one in any case.
    func find(_ key: String, isPrefix: Bool, retries: Retries) async throws -> FoundEntry?

    /// Begins an entry; `nil` if there is one, or somebody else has begun it.
    func reserve(_ key: String, retries: Retries) async throws -> Reservation?

    /// Sends the bytes of an entry.
    func upload(_ content: EntryContent, to reservation: Reservation, retries: Retries) async throws

    /// Ends an entry, which makes it visible.
    func commit(_ key: String, _ reservation: Reservation, size: Int64, retries: Retries) async throws
}

/// An entry that a lookup found.
struct FoundEntry: Sendable {
    var key: String
    /// Where its bytes are, for a while.
    var url: ServiceURL
}

/// An entry that was begun.
enum Reservation: Sendable {
    /// The number of it: version 1.
    case number(Int64)
    /// Where its bytes go: version 2.
    case url(ServiceURL)
}

/// The bytes of an entry.
enum EntryContent: Sendable {
    /// Few, in memory, to be sent as often as needed.
    case bytes([UInt8])
    /// Many, read one time.
    case stream(BlobStream, size: Int64)

    var size: Int64 {
        switch self {
        case .bytes(let bytes): Int64(bytes.count)
        case .stream(_, let size): size
        }
    }
}
