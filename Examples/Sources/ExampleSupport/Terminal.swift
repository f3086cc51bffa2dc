import BuildCacheClient
import Foundation

/// A progress bar on standard error, drawn on a terminal only.
public final class ProgressBar: Sendable {
    private let meter: ProgressMeter

    private init(_ meter: ProgressMeter) { self.meter = meter }

    /// Runs `body` with a bar that is drawn ten times a second and gone at the end, however that comes.
    ///
    /// It is drawn by a task of its own: what moves the bytes waits for no terminal.
    public static func show<Value: Sendable>(
        _ meter: ProgressMeter = ProgressMeter(), _ body: @escaping @Sendable (ProgressBar) async throws -> Value
    ) async throws -> Value {
        let bar = ProgressBar(meter)
        guard isatty(STDERR_FILENO) == 1 else { return try await body(bar) }
        let drawing = Task {
            while true {
                print(bar.line)
                try await Task.sleep(for: .milliseconds(100))
            }
        }
        let result: Result<Value, any Error>
        do { result = .success(try await body(bar)) } catch { result = .failure(error) }
        drawing.cancel()
        _ = await drawing.result
        print("\r\u{1B}[K")
        return try result.get()
    }

    /// Takes an event of an endpoint.
    public func report(_ event: ProgressEvent, of endpoint: String = "") {
        meter.report(event, of: endpoint)
        // Shorter pauses are over before they are read.
        guard case .waiting(let pause, let reason) = event, pause >= .seconds(1) else { return }
        let clear = isatty(STDERR_FILENO) == 1 ? "\r\u{1B}[K" : ""
        ProgressBar.print("\(clear)\(endpoint) waits \(pause): \(reason)\n")
    }

    private var line: String {
        let now = meter.snapshot()
        let filled = Int(30 * now.fraction)
        return "\r\u{1B}[K[" + String(repeating: "#", count: filled) + String(repeating: ".", count: 30 - filled)
            + "] \(now.totals.finishedLayers) of \(now.totals.layers) layers, \(size(now.totals.bytes)), "
            + "\(size(Int64(now.bytesPerSecond)))/s"
    }

    private static func print(_ text: String) { FileHandle.standardError.write(Data(text.utf8)) }
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

/// Text from outside as one line without control characters: a terminal obeys some of these.
public func plain(_ text: String) -> String {
    String(String.UnicodeScalarView(text.unicodeScalars.map { $0.properties.generalCategory == .control ? "?" : $0 }))
}
