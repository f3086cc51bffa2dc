import BuildCache
import Foundation

/// Converts a layer of 4 GiB and looks at the memory that takes.
struct MemoryCheck {
    /// The most memory that any conversion may hold at once, in bytes.
    static let maximum: Int64 = 256 << 20
    private static let size = 4 << 30

    private let directory: String

    init(in parent: String) throws {
        directory = "\(parent)/compression-bench-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    }

    /// Whether all conversions kept to the limit, and all that came of the tar is the same whatever the way; prints a
    /// line each.
    func run() throws -> Bool {
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let tar = "\(directory)/tar"
        try makeTar(at: tar)
        var known = [Compression.uncompressed: try Conversion.digest(of: tar)]
        var isGood = true
        func convert(_ file: String, _ from: Compression, to: Compression, copy: String? = nil) throws {
            guard let digest = known[from] else { return }
            var conversion = Conversion(file, from, digest, to: to, in: directory)
            conversion.copy = copy
            let measured = try conversion.command.run()
            let memory = measured.peakMemory ?? .max
            let isSame = known[to] == nil || known[to] == measured.digest
            known[to] = measured.digest
            isGood = isGood && memory <= MemoryCheck.maximum && isSame
            let verdict = !isSame ? "WRONG" : memory <= MemoryCheck.maximum ? "ok   " : "MUCH "
            print(
                String(
                    format: "%@ %@ to %@: %d MiB (at most %d), %.1f s, %lld bytes", verdict, from.rawValue,
                    to.rawValue, memory >> 20, MemoryCheck.maximum >> 20, measured.seconds, measured.bytes))
            fflush(nil)
        }
        let types = Compression.allCases.filter { $0 != .uncompressed }
        for type in types { try convert(tar, .uncompressed, to: type, copy: "\(directory)/\(type.rawValue)") }
        for type in types {
            for target in Compression.allCases where target != type {
                try convert("\(directory)/\(type.rawValue)", type, to: target)
            }
        }
        return isGood
    }

    /// Writes a tar of one file of zeros, none of which take room on the disk.
    private func makeTar(at path: String) throws {
        var header = [UInt8](repeating: 0, count: 512)
        func put(_ text: String, at offset: Int) {
            header.replaceSubrange(offset..<offset + text.utf8.count, with: text.utf8)
        }
        put("zeros", at: 0)
        put("0000644", at: 100)
        put(String(MemoryCheck.size, radix: 8), at: 124)
        put("0", at: 156)
        put("ustar\u{0}00", at: 257)
        put("        ", at: 148)
        let sum = String(header.reduce(0) { $0 + Int($1) }, radix: 8)
        put(String(repeating: "0", count: 6 - sum.count) + sum + "\u{0}", at: 148)
        try Data(header).write(to: URL(fileURLWithPath: path))
        let file = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
        // Behind the data stand the two blocks that end a tar, also zeros.
        try file.truncate(atOffset: UInt64(512 + MemoryCheck.size + 1024))
        try file.close()
    }
}
