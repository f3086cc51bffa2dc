// Compares uploads to and downloads from S3 with `aws s3 cp --recursive`, against a SeaweedFS on this machine.
//
//     swift run -c release s3-bench [turns] [directory]
//
// Each is done in turns, and the middle one counts. Then a layer of 1 GiB goes up and down in processes of its own, whose memory is
// measured. Needs `weed` and `aws`; the directory should have room for 20 GiB.

import BuildCache
import Foundation
import NIOCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

func seconds(_ body: () async throws -> Void) async rethrows -> Double {
    let duration = try await ContinuousClock().measure { try await body() }
    return Double(duration.components.seconds) + Double(duration.components.attoseconds) / 1e18
}

/// Exports all layers of a folder.
func upload(_ layers: Layers, port: Int, prefix: String) async throws {
    try await ScratchStore.withTemporary { scratch in
        let cache = S3Cache(
            try Server.options(port: port, prefix: prefix), export: ExportOptions(mode: .max), scratch: scratch)
        let receipt = try await cache.exportCache(
            layers.graph, from: LayerSource(blobs: FolderSource(folder: layers.folder)), progress: .discarded)
        guard receipt.transfers.values.allSatisfy({ $0 == .written }) else {
            throw CacheError(.corrupted, "not everything was written")
        }
    }
}

/// Imports a cache and writes its layers into a folder, four at once.
func download(port: Int, prefix: String, into folder: String) async throws {
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    try await ScratchStore.withTemporary { scratch in
        let cache = S3Cache(try Server.options(port: port, prefix: prefix), scratch: scratch)
        guard let found = try await cache.importCache(progress: .discarded) else {
            throw CacheError(.notFound, "there is no cache")
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (number, descriptor) in found.graph.descriptors.values.enumerated() {
                if number >= 4 { try await group.next() }
                group.addTask {
                    let path = folder + "/" + descriptor.digest.hex
                    _ = FileManager.default.createFile(atPath: path, contents: nil)
                    let file = open(path, O_WRONLY)
                    defer { close(file) }
                    for try await chunk in try await found.blobs.open(descriptor, range: nil) {
                        chunk.withUnsafeReadableBytes { _ = write(file, $0.baseAddress, $0.count) }
                    }
                }
            }
            try await group.waitForAll()
        }
    }
}

/// The most memory this process ever had resident, in MiB.
func peakResidentMebibytes() -> Int {
    var usage = rusage()
    #if os(Linux)
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        return usage.ru_maxrss / 1024
    #else
        getrusage(RUSAGE_SELF, &usage)
        return usage.ru_maxrss / 1_048_576
    #endif
}

/// Runs this program for one job, so that its memory is that of the job.
func runAlone(_ arguments: String...) throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: CommandLine.arguments[0])
    process.arguments = arguments
    try process.run()
    process.waitUntilExit()
}

func report(_ what: String, _ ours: [Double], _ theirs: [Double], promised: Double) {
    func text(_ values: [Double]) -> String { values.map { String(format: "%.2f", $0) }.joined(separator: " ") }
    // Pair by pair: what slows the machine down slows both.
    let ratios = zip(ours, theirs).map { $0 / $1 }.sorted()
    print(
        String(
            format: "%@ of 8 × 64 MiB  ours %@ s  aws s3 cp %@ s  ratio %.2f (%@), promised %.2f", what, text(ours),
            text(theirs), ratios[ratios.count / 2], text(ratios), promised))
}

let arguments = Array(CommandLine.arguments.dropFirst())
if arguments.count == 4, let port = Int(arguments[1]) {
    let time = try await seconds {
        switch arguments[0] {
        case "up": try await upload(try Layers(of: arguments[3]), port: port, prefix: arguments[2])
        default: try await download(port: port, prefix: arguments[2], into: arguments[3])
        }
    }
    print(
        String(
            format: "1 GiB %@ %.2f s  peak %d MiB resident, promised 128", arguments[0], time, peakResidentMebibytes()))
    exit(0)
}

let turns = arguments.first.flatMap { Int($0) } ?? 3
let folder = (arguments.dropFirst().first ?? NSTemporaryDirectory()) + "/build-cache-s3-bench-\(UUID().uuidString)"
try FileManager.default.createDirectory(atPath: folder + "/server", withIntermediateDirectories: true)
defer { try? FileManager.default.removeItem(atPath: folder) }
let server = try await Server(in: folder + "/server")
defer { server.stop() }

var times: [String: [Double]] = [:]
for turn in 0..<turns {
    let layers = try Layers(in: "\(folder)/layers-\(turn)", count: 8, mebibytes: 64)
    times["their uploads", default: []].append(
        try await seconds { try server.aws("s3", "cp", "--recursive", layers.folder, "s3://cache/theirs-\(turn)") })
    times["our uploads", default: []].append(
        try await seconds { try await upload(layers, port: server.port, prefix: "ours-\(turn)/") })
    times["their downloads", default: []].append(
        try await seconds {
            try server.aws("s3", "cp", "--recursive", "s3://cache/theirs-\(turn)", "\(folder)/their-copy-\(turn)")
        })
    times["our downloads", default: []].append(
        try await seconds {
            try await download(port: server.port, prefix: "ours-\(turn)/", into: "\(folder)/our-copy-\(turn)")
        })
    for name in ["layers", "their-copy", "our-copy"] {
        try FileManager.default.removeItem(atPath: "\(folder)/\(name)-\(turn)")
    }
}
report("upload", times["our uploads"] ?? [], times["their uploads"] ?? [], promised: 0.75)
report("download", times["our downloads"] ?? [], times["their downloads"] ?? [], promised: 0.9)

let large = try Layers(in: folder + "/large", count: 1, mebibytes: 1024)
try runAlone("up", "\(server.port)", "large/", large.folder)
try runAlone("down", "\(server.port)", "large/", folder + "/large-copy")
