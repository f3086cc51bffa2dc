import BuildCache
import Foundation
import Synchronization

/// A progress bar on standard error, drawn on a terminal only.
public final class ProgressBar: Sendable {
    private struct State {
        var total: Int64 = 0
        var finished: Int64 = 0
        var current: [Digest: Int64] = [:]
        var sizes: [Digest: Int64] = [:]
    }
    private let state = Mutex(State())
    private let isTerminal = isatty(STDERR_FILENO) == 1

    /// Makes a bar that shows nothing yet.
    public init() {}

    /// Takes an event of any endpoint.
    public func report(_ event: ProgressEvent) {
        guard isTerminal else { return }
        let line = state.withLock { state -> String? in
            switch event {
            case .planned(_, let bytes): state.total += bytes
            case .started(let descriptor): state.sizes[descriptor.digest] = descriptor.size
            case .advanced(let digest, let bytes): state.current[digest] = bytes
            case .finished(let digest, _):
                state.finished += state.sizes.removeValue(forKey: digest) ?? 0
                state.current[digest] = nil
            default: return nil
            }
            let done = state.finished + state.current.values.reduce(0, +)
            let total = max(state.total, done, 1)
            let filled = Int(30 * done / total)
            return "\r[" + String(repeating: "#", count: filled) + String(repeating: ".", count: 30 - filled)
                + "] \(size(done)) of \(size(total))  "
        }
        if let line { FileHandle.standardError.write(Data(line.utf8)) }
    }

    /// Clears the bar.
    public func end() {
        guard isTerminal else { return }
        FileHandle.standardError.write(Data("\r\u{1B}[K".utf8))
    }
}

/// As in `12.3 MiB`.
public func size(_ bytes: Int64) -> String {
    var value = Double(bytes)
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024 || unit == "GiB" { return unit == "B" ? "\(bytes) B" : String(format: "%.1f %@", value, unit) }
        value /= 1024
    }
    return "\(bytes) B"
}

/// As in `sha256:1a2b3c4d5e6f`.
public func short(_ digest: Digest) -> String { "sha256:\(digest.hex.prefix(12))" }
