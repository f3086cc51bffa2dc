// Compares pushes and pulls of a cache with eight large layers with `skopeo copy`, at docker-registry on this machine, and counts
// what a push costs that has nothing new.
//
//     swift run -c release registry-bench [directory] [pairs]
//
// Each pair runs the two commands one after the other, each a process of its own against an empty registry. The best of the pairs
// counts: that is what is left when nobody else uses the machine. The disk is idle when a run begins. Fails if a threshold is crossed.
//
// `registry-bench copy FROM TO` does one transfer, as the example `copy-cache`, and prints its peak of memory in bytes.

import BuildCache
import Foundation
import NIOCore

let arguments = Array(CommandLine.arguments.dropFirst())
if arguments.first == "copy", arguments.count == 3 {
    try await copyCache(from: arguments[1], to: arguments[2])
    print(peakMemory())
    exit(0)
}
let parent = arguments.first ?? NSTemporaryDirectory()
let pairs = arguments.dropFirst().first.flatMap { Int($0) } ?? 3
let directory = "\(parent)/registry-bench-\(UUID().uuidString)"
try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
defer { try? FileManager.default.removeItem(atPath: directory) }

var crossed = false
@MainActor func report(_ what: String, _ text: String, isGood: Bool) {
    crossed = crossed || !isGood
    print("\(isGood ? "ok  " : "SLOW") \(what): \(text)")
    fflush(nil)
}
/// The time that `body` takes; what was written before is on the disk then, so that nobody waits for another's bytes.
func seconds(_ body: () throws -> Void) rethrows -> Double {
    sync()
    let duration = try ContinuousClock().measure { try body() }.components
    return Double(duration.seconds) + Double(duration.attoseconds) / 1e18
}
/// skopeo remembers which registry has which blob, and would send nothing the second time.
func forgetBlobs() {
    let places = ["/var/lib/containers/cache", NSHomeDirectory() + "/.local/share/containers/cache"]
    for place in places {
        for name in (try? FileManager.default.contentsOfDirectory(atPath: place)) ?? []
        where name.hasPrefix("blob-info-cache") {
            try? FileManager.default.removeItem(atPath: "\(place)/\(name)")
        }
    }
}

// MARK: Large layers

let large = "\(directory)/large"
try await makeCache(in: large, layers: 8, bytes: 64 << 20)
let program = CommandLine.arguments[0]
let skopeo = ["skopeo", "--insecure-policy", "copy", "--quiet"]
var (pushes, skopeoPushes, pulls, skopeoPulls): ([Double], [Double], [Double], [Double]) = ([], [], [], [])
var memory: Int64 = 0
for _ in 0..<pairs {
    try withRegistry(in: directory) { address in
        let copy = "\(directory)/pulled"
        defer { try? FileManager.default.removeItem(atPath: copy) }
        let cache = "type=registry,ref=\(address)/bench/cache"
        pushes.append(
            try seconds {
                memory = max(
                    memory, Int64(try run([program, "copy", "type=local,src=\(large)", "\(cache),mode=max"])) ?? 0)
            })
        pulls.append(
            try seconds {
                memory = max(memory, Int64(try run([program, "copy", cache, "type=local,dest=\(copy),mode=max"])) ?? 0)
            })
    }
    try withRegistry(in: directory) { address in
        let copy = "\(directory)/pulled"
        defer { try? FileManager.default.removeItem(atPath: copy) }
        let image = "docker://\(address)/bench/cache:latest"
        forgetBlobs()
        skopeoPushes.append(
            try seconds { try run(skopeo + ["--dest-tls-verify=false", "oci:\(large):latest", image]) })
        forgetBlobs()
        skopeoPulls.append(
            try seconds { try run(skopeo + ["--src-tls-verify=false", image, "oci:\(copy):latest"]) })
    }
}
@MainActor func compare(_ what: String, _ ours: [Double], _ other: [Double], atMost limit: Double) {
    let (best, otherBest) = (ours.min() ?? 0, other.min() ?? 1)
    let text = String(
        format: "%.2f s, skopeo copy %.2f s, ratio %.2f (at most %.2f)", best, otherBest, best / otherBest, limit)
    report(what, text, isGood: best / otherBest <= limit)
}
compare("push of 8 layers of 64 MiB", pushes, skopeoPushes, atMost: 0.75)
compare("pull of 8 layers of 64 MiB", pulls, skopeoPulls, atMost: 0.9)
report("peak memory", "\(memory >> 20) MiB (at most 128)", isGood: memory <= 128 << 20)

// MARK: Nothing new

let many = "\(directory)/many"
try await makeCache(in: many, layers: 100, bytes: 1 << 10)
try withRegistry(in: directory) { address in
    for (cache, layers, limit) in [(large, 8, 12), (many, 100, 0)] {
        let proxy = try SlowProxy(to: address, delay: .milliseconds(50))
        defer { proxy.close() }
        let name = "bench/\(layers)"
        try run([program, "copy", "type=local,src=\(cache)", "type=registry,ref=\(address)/\(name),mode=max"])
        let elapsed = try seconds {
            try run([program, "copy", "type=local,src=\(cache)", "type=registry,ref=\(proxy.address)/\(name),mode=max"])
        }
        let count = proxy.responses
        report(
            "push of \(layers) layers that are there, 50 ms added to each answer",
            String(format: "%.2f s (at most 1.50), %d requests", elapsed, count)
                + (limit > 0 ? " (at most \(limit))" : ""),
            isGood: elapsed <= 1.5 && (limit == 0 || count <= limit))
    }
}

if crossed {
    print("a threshold was crossed")
    try? FileManager.default.removeItem(atPath: directory)
    exit(1)
}
