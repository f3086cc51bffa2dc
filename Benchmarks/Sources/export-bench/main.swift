// Compares the export of one large uncompressed layer to a local cache with `cp` and `sha256sum` of the same file.
//
//     swift run -c release export-bench [mebibytes] [directory]
//
// Each is done three times, in turns, and the best time counts. The directory should be on the disk that is of interest.

import BenchSupport
import BuildCache
import Foundation

func seconds(_ body: () async throws -> Void) async rethrows -> Double {
    let clock = ContinuousClock()
    let duration = try await clock.measure { try await body() }
    return Double(duration.components.seconds) + Double(duration.components.attoseconds) / 1e18
}

func run(_ tool: String, _ arguments: String...) throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = [tool] + arguments
    process.standardOutput = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    guard process.terminationStatus == 0 else { throw CacheError(.unavailable, "\(tool) failed") }
}

let mebibytes = CommandLine.arguments.dropFirst().first.flatMap { Int($0) } ?? 512
let parent = CommandLine.arguments.dropFirst(2).first ?? NSTemporaryDirectory()
let folder = parent + "/build-cache-export-bench-\(UUID().uuidString)"
try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
defer { try? FileManager.default.removeItem(atPath: folder) }

// Bytes that no file system can compress or share.
let layer = folder + "/layer.tar"
_ = FileManager.default.createFile(atPath: layer, contents: nil)
let file = try FileHandle(forWritingTo: URL(fileURLWithPath: layer))
var random = SystemRandomNumberGenerator()
var mebibyte = (0..<(1 << 17)).map { _ in random.next() }
for number in 0..<mebibytes {
    mebibyte[0] = UInt64(number)
    try file.write(contentsOf: mebibyte.withUnsafeBytes { Data($0) })
}
try file.close()
let digest = try Data(contentsOf: URL(fileURLWithPath: layer), options: .alwaysMapped).withUnsafeBytes {
    Digest(of: $0)
}
let descriptor = Descriptor(
    mediaType: .layer(.uncompressed), digest: digest, size: Int64(mebibytes) << 20,
    annotations: [Annotation.uncompressed: digest.description])
var graph = LayerGraph()
let root = try graph.addRecord(.record(content: digest))
let result = CacheResult(layer: try graph.addLayer(descriptor), createdAt: .zero)
try graph.addRecord(.record(operation: digest, output: 0), inputs: [[Link(root)]], results: [result])

var baseline: [Double] = []
var export: [Double] = []
try await ScratchStore.withTemporary { [graph] scratch in
    for turn in 0..<3 {
        baseline.append(
            try await seconds {
                try run("cp", layer, folder + "/copy-\(turn)")
                try run("sha256sum", layer)
            })
        let cache = try LocalCache(LocalOptions(dest: folder + "/cache-\(turn)"), scratch: scratch)
        export.append(
            try await seconds {
                let source = LayerSource(blobs: FileSource(path: layer))
                let receipt = try await cache.exportCache(graph, from: source, progress: .discarded)
                guard receipt.transfers[digest] == .written else { throw CacheError(.corrupted, "nothing was written") }
            })
    }
}
let (best, other) = (export.min() ?? 0, baseline.min() ?? 1)
print(
    String(
        format: "export of %d MiB %.2f s  cp and sha256sum %.2f s  ratio %.2f  all exports %@  all copies %@",
        mebibytes, best, other,
        best / other, export.map { String(format: "%.2f", $0) }.joined(separator: " "),
        baseline.map { String(format: "%.2f", $0) }.joined(separator: " ")))
