package import BuildCacheCore
package import Logging
import Synchronization

/// The difference between the clock of a service and that of this machine, learned from a response that refuses a signature.
///
/// - Source: AWS SDK for Go v2, `aws/retry/middleware.go`: differences from four minutes on count.
package final class ClockOffset: Sendable {
    /// Smaller differences are not the reason for a refusal.
    private static let least: Int64 = 240
    /// Larger differences are not corrected: a signature for a time far ahead would be good for long.
    private static let most: Int64 = 86_400

    private let seconds = Mutex<Int64>(0)

    package init() {}

    /// The time at the service, as far as is known.
    package func corrected(_ local: Timestamp) -> Timestamp {
        let (sum, overflows) = local.seconds.addingReportingOverflow(seconds.withLock { $0 })
        return overflows ? local : Timestamp(seconds: sum, nanoseconds: local.nanoseconds) ?? local
    }

    /// Learns from a refusal, and says whether a signature for the corrected time may pass.
    ///
    /// A refusal without a date that counts ends a correction: the date that it was learned from may have been wrong.
    ///
    /// - Parameters:
    ///   - date: The `Date` header of the response.
    ///   - signedAt: The time of the refused signature.
    ///   - local: The time of this machine.
    ///   - logger: Told of a correction.
    package func learn(from date: String?, signedAt: Timestamp, local: Timestamp, _ logger: Logger) -> Bool {
        guard let date, let theirs = Timestamp(httpDate: date) else { return forget() }
        let (offset, overflows) = theirs.seconds.subtractingReportingOverflow(local.seconds)
        guard !overflows, offset.magnitude <= UInt64(ClockOffset.most) else { return forget() }
        let (error, isFar) = theirs.seconds.subtractingReportingOverflow(signedAt.seconds)
        guard !isFar, error.magnitude >= UInt64(ClockOffset.least) else { return false }
        seconds.withLock { $0 = offset }
        logger.notice(
            "the clock of this machine is wrong, and requests are signed for the time of the service",
            metadata: ["seconds": "\(offset)"])
        return true
    }

    /// Goes back to the time of this machine, and says whether that is a change.
    private func forget() -> Bool {
        seconds.withLock { offset in
            defer { offset = 0 }
            return offset != 0
        }
    }
}
