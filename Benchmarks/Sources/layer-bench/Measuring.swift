import Foundation

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// A directory of one benchmark.
struct Work {
    let path: String

    init(in parent: String?) throws {
        path = "\(parent ?? NSTemporaryDirectory())/layer-bench-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    func remove() { try? FileManager.default.removeItem(atPath: path) }
}

/// The cost of one process.
struct Cost {
    var seconds: Double
    /// Of the processors, for the program and the kernel.
    var processorSeconds: Double
    /// Bytes at the peak.
    var memory: Int64
}

enum MeasuringFault: Error { case notStarted(String), failed(String) }

/// Runs a command to its end, with its output thrown away.
func measure(_ command: [String], in directory: String) throws -> Cost {
    // The shell changes the directory; `exec` leaves one process to measure.
    let line = "cd \"$0\" && exec \"$@\" >/dev/null"
    let arguments = (["sh", "-c", line, directory] + command).map { strdup($0) } + [nil]
    defer { for argument in arguments { free(argument) } }
    var child: pid_t = 0
    let start = ContinuousClock.now
    guard posix_spawn(&child, "/bin/sh", nil, nil, arguments, environ) == 0 else {
        throw MeasuringFault.notStarted(command.joined(separator: " "))
    }
    var status: Int32 = 0
    var usage = rusage()
    while wait4(child, &status, 0, &usage) < 0, errno == EINTR {}
    let duration = ContinuousClock.now - start
    guard status == 0 else { throw MeasuringFault.failed(command.joined(separator: " ")) }
    func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
    #if canImport(Darwin)
        let unit: Int64 = 1
    #else
        let unit: Int64 = 1024
    #endif
    return Cost(
        seconds: duration / .seconds(1), processorSeconds: seconds(usage.ru_utime) + seconds(usage.ru_stime),
        memory: Int64(usage.ru_maxrss) * unit)
}

/// The value in the middle.
func median(_ values: [Double]) -> Double {
    let sorted = values.sorted()
    return sorted.isEmpty ? .nan : sorted[sorted.count / 2]
}

/// Whether a program is there.
func isInstalled(_ program: String) -> Bool {
    (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
        .contains { FileManager.default.isExecutableFile(atPath: "\($0)/\(program)") }
}
