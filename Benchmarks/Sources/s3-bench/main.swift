// Compares uploads to and downloads from S3 with `aws s3 cp --recursive`, against a SeaweedFS on this machine.
//
//     swift run -c release s3-bench [turns] [directory]
//
// Each is done in turns, a process of its own each time, and the middle ratio counts. Then a layer of 1 GiB goes up and down, and the
// memory of that is measured. Needs `weed` and `aws`; the directory should have room for 20 GiB. Fails if a threshold is crossed.

import BenchSupport
import BuildCache
import Foundation

let arguments = Array(CommandLine.arguments.dropFirst())
if arguments.count == 4, let port = Int(arguments[1]) {
    try await ScratchStore.withTemporary { scratch in
        let cache = S3Cache(
            try Server.options(port: port, prefix: arguments[2]), export: ExportOptions(mode: .max), scratch: scratch)
        switch arguments[0] {
        case "up": try await cache.upload(try Layers(of: arguments[3]))
        default: try await cache.download(into: arguments[3])
        }
    }
    print(peakResidentMebibytes())
    exit(0)
}

let turns = arguments.first.flatMap { Int($0) } ?? 3
let folder = (arguments.dropFirst().first ?? NSTemporaryDirectory()) + "/build-cache-s3-bench-\(UUID().uuidString)"
try FileManager.default.createDirectory(atPath: folder + "/server", withIntermediateDirectories: true)
defer { try? FileManager.default.removeItem(atPath: folder) }
let server = try await Server(in: folder + "/server")
defer { server.stop() }

/// Moves layers with this program: the time, and the most memory in MiB.
@MainActor func move(
    _ direction: String, _ prefix: String, _ folder: String
) throws -> (seconds: Double, mebibytes: Int) {
    let run = try runAlone([CommandLine.arguments[0], direction, "\(server.port)", prefix, folder])
    return (run.seconds, Int(run.output.trimmingCharacters(in: .whitespacesAndNewlines)) ?? .max)
}

var (ups, theirUps, downs, theirDowns): ([Double], [Double], [Double], [Double]) = ([], [], [], [])
for turn in 0..<turns {
    let layers = try Layers(in: "\(folder)/layers-\(turn)", count: 8, mebibytes: 64)
    theirUps.append(try server.aws("s3", "cp", "--recursive", layers.folder, "s3://cache/theirs-\(turn)"))
    ups.append(try move("up", "ours-\(turn)/", layers.folder).seconds)
    theirDowns.append(
        try server.aws("s3", "cp", "--recursive", "s3://cache/theirs-\(turn)", "\(folder)/their-copy-\(turn)"))
    downs.append(try move("down", "ours-\(turn)/", "\(folder)/our-copy-\(turn)").seconds)
    for name in ["layers", "their-copy", "our-copy"] {
        try FileManager.default.removeItem(atPath: "\(folder)/\(name)-\(turn)")
    }
}
var isGood = compare("upload", ups, "aws s3 cp", theirUps, promised: 0.75)
isGood = compare("download", downs, "aws s3 cp", theirDowns, promised: 0.9) && isGood

let large = try Layers(in: folder + "/large", count: 1, mebibytes: 1024)
for (direction, target) in [("up", large.folder), ("down", folder + "/large-copy")] {
    let (seconds, mebibytes) = try move(direction, "large/", target)
    isGood = isGood && mebibytes <= 128
    print(
        String(
            format: "%@ 1 GiB %@: %.2f s, at most %d MiB resident (at most 128)", mebibytes <= 128 ? "ok  " : "MUCH",
            direction, seconds, mebibytes))
}
if !isGood {
    print("a threshold was crossed")
    server.stop()
    try? FileManager.default.removeItem(atPath: folder)
    exit(1)
}
