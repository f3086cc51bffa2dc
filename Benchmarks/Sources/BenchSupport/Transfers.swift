public import BuildCache
import Foundation
import NIOCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

extension CacheBackend {
    /// Exports all layers of a folder, none of which may be there.
    public func upload(_ layers: Layers) async throws {
        let receipt = try await exportCache(layers.graph, from: layers.source, progress: .discarded)
        guard receipt.transfers.values.allSatisfy({ $0 == .written }) else {
            throw CacheError(.corrupted, "not everything was written")
        }
    }

    /// Imports the cache and writes its layers into a folder, four at once.
    public func download(into folder: String) async throws {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        guard let found = try await importCache(progress: .discarded) else {
            throw CacheError(.notFound, "there is no cache")
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (number, descriptor) in found.graph.descriptors.values.enumerated() {
                if number >= 4 { try await group.next() }
                group.addTask {
                    let path = folder + "/" + descriptor.digest.hex
                    let file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
                    defer { close(file) }
                    for try await chunk in try await found.blobs.open(descriptor, range: nil) {
                        let count = chunk.withUnsafeReadableBytes { write(file, $0.baseAddress, $0.count) }
                        guard count == chunk.readableBytes else {
                            throw CacheError(.storageFull, "\(path) could not be written")
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
    }
}

/// The most memory this process ever had resident, in MiB.
public func peakResidentMebibytes() -> Int {
    var usage = rusage()
    #if os(Linux)
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        return usage.ru_maxrss / 1024
    #else
        getrusage(RUSAGE_SELF, &usage)
        return usage.ru_maxrss / 1_048_576
    #endif
}

/// Runs a program to its end, and says how long that took and what it printed.
///
/// What was written before is on the disk then, so that nobody waits for another's bytes.
public func runAlone(
    _ line: [String], environment: [String: String] = [:]
) throws -> (seconds: Double, output: String) {
    let (process, pipe) = (Process(), Pipe())
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = line
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { _, new in new }
    process.standardOutput = pipe
    sync()
    let clock = ContinuousClock()
    let start = clock.now
    try process.run()
    let printed = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    guard process.terminationStatus == 0 else {
        throw CacheError(.unavailable, "\(line.prefix(2).joined(separator: " ")) … failed")
    }
    return ((clock.now - start) / .seconds(1), String(decoding: printed, as: UTF8.self))
}

/// Prints what both took, and the ratios pair by pair: what slows the machine down slows both.
///
/// - Returns: Whether the one in the middle is what was promised.
public func compare(
    _ what: String, _ ours: [Double], _ tool: String, _ theirs: [Double], promised: Double
) -> Bool {
    func text(_ values: [Double]) -> String { values.map { String(format: "%.2f", $0) }.joined(separator: " ") }
    let ratios = zip(ours, theirs).map { $0 / $1 }.sorted()
    let isKept = ratios[ratios.count / 2] <= promised
    print(
        String(
            format: "%@ %@ of 8 × 64 MiB: %@ s, %@ %@ s, ratio %.2f (%@), at most %.2f", isKept ? "ok  " : "SLOW",
            what, text(ours), tool, text(theirs), ratios[ratios.count / 2], text(ratios), promised))
    return isKept
}
