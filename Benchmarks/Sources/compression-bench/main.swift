// Compares the conversion of one large layer with what pigz, gzip and zstd take for it.
//
//     swift run -c release compression-bench TAR [directory] [pairs]
//
// TAR must be whole: one that was cut off inside an entry is no layer.
//
// Each pair runs the two commands one after the other, each a process of its own that reads a file and writes one. The best
// of the pairs counts: that is what is left when nobody else uses the machine. Fails if a threshold is crossed. With a tar
// of 4 GiB it shows that memory does not grow with the layer.
//
//     swift run -c release compression-bench memory [directory]
//
// converts a layer of 4 GiB of zeros from each type to each other, checks that it stays the same tar, and fails above
// 256 MiB of memory. The file that stands for the layer takes no room.
//
// `compression-bench convert …` does one conversion; see `Conversion`.

import BuildCache
import Foundation

let arguments = Array(CommandLine.arguments.dropFirst())
if arguments.first == "convert" {
    try await Conversion(arguments: Array(arguments.dropFirst())).run()
    exit(0)
}
if arguments.first == "memory" {
    exit(try MemoryCheck(in: arguments.dropFirst().first ?? NSTemporaryDirectory()).run() ? 0 : 1)
}
guard let tar = arguments.first else {
    print("usage: compression-bench TAR [directory] [pairs], or compression-bench memory [directory]")
    exit(2)
}
let parent = arguments.dropFirst().first ?? NSTemporaryDirectory()
let pairs = arguments.dropFirst(2).first.flatMap { Int($0) } ?? 3
let maximumHashing = 0.05

let directory = "\(parent)/compression-bench-\(UUID().uuidString)"
try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
defer { try? FileManager.default.removeItem(atPath: directory) }

func path(_ name: String) -> String { "\(directory)/\(name)" }
func ours(_ file: String, _ from: Compression, to: Compression) throws -> Conversion {
    Conversion(file, from, try Conversion.digest(of: file), to: to, in: directory)
}
func quoted(_ path: String) -> String { "'\(path)'" }

// The compressed layers to begin with: those that other tools write, and a gzip of our own.
let (gzip, ownGzip, zstd) = (path("layer.tar.gz"), path("own.tar.gz"), path("layer.tar.zst"))
try Command.shell("pigz -6 -c \(quoted(tar))", output: gzip).run(keepingOutput: true)
try Command.shell("zstd -q -3 -T0 -c \(quoted(tar))", output: zstd).run(keepingOutput: true)
var making = try ours(tar, .uncompressed, to: .gzip)
making.copy = ownGzip
try making.command.run()

#if Libdeflate
    let gzipTime = 0.27
#else
    let gzipTime = 1.05
#endif
let result = path("result")
let (tarSize, gzipSize, ownGzipSize, zstdSize) = try (
    Conversion.size(of: tar), Conversion.size(of: gzip), Conversion.size(of: ownGzip), Conversion.size(of: zstd)
)
let ourGzip = try ours(tar, .uncompressed, to: .gzip).command
let cases = [
    Case(
        name: "tar to gzip, pigz -p 2 -6", ours: ourGzip,
        other: .shell("pigz -p 2 -6 -c \(quoted(tar))", output: result), maximumTime: gzipTime, maximumSize: 1.01,
        hashed: tarSize),
    Case(
        name: "tar to zstd, zstd -3 --zstd=wlog=23 -T2", ours: try ours(tar, .uncompressed, to: .zstd).command,
        other: .shell("zstd -q -3 --zstd=wlog=23 -T2 -c \(quoted(tar))", output: result), maximumTime: 1.15,
        maximumSize: 1.01, hashed: tarSize),
    Case(
        name: "tar to eStargz, our own gzip", ours: try ours(tar, .uncompressed, to: .estargz).command, other: ourGzip,
        maximumTime: 1.35, hashed: tarSize),
    Case(
        name: "pigz's gzip to zstd, gzip -dc | zstd -3 -T2", ours: try ours(gzip, .gzip, to: .zstd).command,
        other: .shell("gzip -dc \(quoted(gzip)) | zstd -q -3 -T2", output: result), maximumTime: 1.15,
        hashed: tarSize + gzipSize),
    Case(
        name: "our gzip to zstd, gzip -dc | zstd -3 -T2", ours: try ours(ownGzip, .gzip, to: .zstd).command,
        other: .shell("gzip -dc \(quoted(ownGzip)) | zstd -q -3 -T2", output: result), maximumTime: 1.15,
        hashed: tarSize + ownGzipSize),
    Case(
        name: "zstd to gzip, our own gzip", ours: try ours(zstd, .zstd, to: .gzip).command, other: ourGzip,
        maximumTime: 1.1, hashed: tarSize + zstdSize),
    Case(
        name: "our gzip to tar, gzip -dc", ours: try ours(ownGzip, .gzip, to: .uncompressed).command,
        other: .shell("gzip -dc \(quoted(ownGzip))", output: result), maximumTime: 1, hashed: ownGzipSize),
]
// The hash of OpenSSL is the one that the library uses; per byte, what reading the file takes included.
let hashing =
    try (0..<pairs).map { _ in
        try Command(line: ["openssl", "dgst", "-sha256", "-r", tar], output: tar).run(keepingOutput: true)
            .processorSeconds
    }.min().map { $0 / Double(tarSize) } ?? 0

var crossed = false
for test in cases {
    var (our, other): ([Measurement], [Measurement]) = ([], [])
    for _ in 0..<pairs {
        our.append(try test.ours.run())
        other.append(try test.other.run())
    }
    func best(_ all: [Measurement], _ value: (Measurement) -> Double) -> Double { all.map(value).min() ?? 0 }
    let time = best(our, \.seconds) / best(other, \.seconds)
    let size = best(our) { Double($0.bytes) } / best(other) { Double($0.bytes) }
    let memory = our.compactMap(\.peakMemory).max() ?? 0
    let bytes = Double(test.hashed) + best(our) { Double($0.bytes) }
    let share = bytes * hashing / best(our, \.processorSeconds)
    let isGood =
        time <= test.maximumTime && size <= (test.maximumSize ?? .infinity) && memory <= MemoryCheck.maximum
    crossed = crossed || !isGood || share > maximumHashing
    print(
        String(
            format:
                "%@ %@: %.2f s of %.2f s, ratio %.3f (at most %.2f); processor %.2f s of %.2f s; size %.4f; %d MiB; hashing %.1f %% (at most %.0f)",
            isGood ? "ok  " : "SLOW", test.name, best(our, \.seconds), best(other, \.seconds), time, test.maximumTime,
            best(our, \.processorSeconds), best(other, \.processorSeconds), size, memory >> 20, share * 100,
            maximumHashing * 100))
    fflush(nil)
}
if crossed {
    print("a threshold was crossed")
    try? FileManager.default.removeItem(atPath: directory)
    exit(1)
}
