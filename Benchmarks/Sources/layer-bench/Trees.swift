import Foundation

/// Makes trees of files with random contents, the same each time.
struct TreeMaker {
    private var state: UInt64 = 0x9E37_79B9_7F4A_7C15
    private let noise: Data

    init() {
        var state: UInt64 = 1
        noise = Data(
            (0..<1 << 22).map { _ in
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                return UInt8(truncatingIfNeeded: state >> 33)
            })
    }

    private mutating func random() -> Double {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Double(state >> 11) / Double(1 << 53)
    }

    /// A number whose logarithm is distributed normally.
    private mutating func size(median: Double, spread: Double) -> Int {
        let normal = (-2 * log(1 - random())).squareRoot() * cos(2 * Double.pi * random())
        return Int(median * exp(spread * normal))
    }

    /// Directories of 100 small files each, of 1 KiB in the middle.
    mutating func small(_ files: Int, at path: String) throws {
        for directory in 0..<files / 100 {
            let folder = "\(path)/d\(directory)"
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            for file in 0..<100 {
                try write(min(200_000, size(median: 1024, spread: 1.4)), to: "\(folder)/file\(file)")
            }
        }
    }

    /// 512 MiB in 486 files.
    mutating func large(at path: String) throws {
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        let sizes = (0..<486).map { _ in size(median: 500_000, spread: 1.2) }
        let scale = Double(512 << 20) / Double(sizes.reduce(0, +))
        for (index, size) in sizes.enumerated() { try write(Int(Double(size) * scale), to: "\(path)/file\(index)") }
    }

    private mutating func write(_ size: Int, to path: String) throws {
        guard size > noise.count else {
            let start = Int(random() * Double(noise.count - size))
            return try noise[start..<start + size].write(to: URL(filePath: path))
        }
        var data = Data(capacity: size)
        while data.count < size { data.append(noise.prefix(size - data.count)) }
        try data.write(to: URL(filePath: path))
    }
}
