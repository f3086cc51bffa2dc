// Prints how long a scan of a build context takes, beside sha256sum of the same files on all processors.
//
//     swift run -c release scan-bench DIRECTORY            makes a tree of 100 000 files in DIRECTORY, if it is not there
//     swift run -c release scan-bench DIRECTORY 10000      a smaller one
//
// In turns, best of three: the first turn fills the file cache.

import BuildCacheKeys
import Foundation

let arguments = CommandLine.arguments
guard arguments.count > 1 else {
    print("usage: scan-bench DIRECTORY [FILES]")
    exit(2)
}
let fileCount = arguments.count > 2 ? Int(arguments[2]) ?? 100_000 : 100_000
let tree = URL(filePath: arguments[1], directoryHint: .isDirectory).appending(path: "scan-bench-\(fileCount)")
let clock = ContinuousClock()

func seconds(_ body: () async throws -> Void) async rethrows -> Double {
    let duration = try await clock.measure(body)
    return Double(duration.components.seconds) + Double(duration.components.attoseconds) / 1e18
}

/// Files of 200 to 10 000 bytes, a hundred in a directory.
func makeTree() throws {
    guard !FileManager.default.fileExists(atPath: tree.path) else { return }
    let sizes = [200, 1000, 4000, 10_000]
    var number: UInt64 = 1
    for start in stride(from: 0, to: fileCount, by: 100) {
        let folder = tree.appending(path: "d\(start / 5000)/e\(start / 100)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        for file in start..<min(start + 100, fileCount) {
            var data = Data(capacity: sizes[file % 4])
            while data.count < sizes[file % 4] {
                number = number &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                withUnsafeBytes(of: number) { data.append(contentsOf: $0) }
            }
            try data.write(to: folder.appending(path: "f\(file).txt"))
        }
    }
}

/// A shell's way: as many programs as there are processors, five hundred files each.
func sha256sum() throws {
    let process = Process()
    process.executableURL = URL(filePath: "/bin/sh")
    let processors = ProcessInfo.processInfo.activeProcessorCount
    process.arguments = [
        "-c", "find \(tree.path) -type f -print0 | xargs -0 -n 500 -P \(processors) sha256sum > /dev/null",
    ]
    try process.run()
    process.waitUntilExit()
}

try makeTree()
// Long after the files were written, so that the index keeps all of them.
let later = Int64(Date().timeIntervalSince1970) + 100
var best = (scan: Double.infinity, again: Double.infinity, sums: Double.infinity)
for _ in 0..<3 {
    var index = DirectoryIndex()
    best.scan = min(
        best.scan,
        try await seconds { index = try await DirectoryScan(tree.path, now: later).index })
    best.again = min(
        best.again, try await seconds { _ = try await DirectoryScan(tree.path, previous: index, now: later) })
    best.sums = min(best.sums, try await seconds { try sha256sum() })
}
func text(_ value: Double) -> String { String(format: "%.2f", value) }
print(
    "\(fileCount) files  scan \(text(best.scan)) s  again \(text(best.again)) s  sha256sum \(text(best.sums)) s  "
        + "ratio \(text(best.scan / best.sums))")
