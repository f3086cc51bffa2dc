import Foundation

struct Failure: Error, CustomStringConvertible { var description: String }

/// Runs a program and returns what it printed.
@discardableResult
func run(_ line: [String]) throws -> String {
    let (process, pipe) = (Process(), Pipe())
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = line
    process.standardOutput = pipe
    try process.run()
    let printed = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    guard process.terminationStatus == 0 else { throw Failure(description: "\(line.joined(separator: " ")) failed") }
    return String(decoding: printed, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
}

/// The most memory this process ever had resident, in bytes.
func peakMemory() -> Int {
    var usage = rusage()
    #if os(Linux)
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        return usage.ru_maxrss * 1024
    #else
        getrusage(RUSAGE_SELF, &usage)
        return usage.ru_maxrss
    #endif
}

/// Runs docker-registry with an empty storage for as long as `body` runs.
func withRegistry(in directory: String, _ body: (_ address: String) throws -> Void) throws {
    let folder = "\(directory)/registry-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let address = "127.0.0.1:\(Int.random(in: 20_000..<60_000))"
    try """
    version: 0.1
    log: {level: error, accesslog: {disabled: true}}
    storage: {filesystem: {rootdirectory: \(folder)/data}}
    http: {addr: "\(address)"}
    """.write(toFile: "\(folder)/config.yml", atomically: true, encoding: .utf8)
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["docker-registry", "serve", "\(folder)/config.yml"]
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
    defer {
        process.terminate()
        process.waitUntilExit()
    }
    // It listens after some tenths of a second.
    try run([
        "curl", "-sf", "-o", "/dev/null", "--retry", "50", "--retry-connrefused", "--retry-delay", "1",
        "http://\(address)/v2/",
    ])
    try body(address)
}
