public import BuildCache
import Foundation

/// Files of random bytes, as the layers of a cache.
public struct Layers: Sendable {
    /// Where the files are, each named by its digest.
    public let folder: String
    /// A cache of steps side by side, each with one of the layers.
    public private(set) var graph = LayerGraph()

    /// The files as blobs.
    public var source: LayerSource { LayerSource(blobs: FileBlobSource(directory: folder)) }

    /// Writes `count` files of so many MiB each, with bytes that nothing can compress or share.
    public init(in folder: String, count: Int, mebibytes: Int) throws {
        self.folder = folder
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        var random = FastRandom(state: .random(in: .min ... .max))
        let root = try graph.addRecord(.record(content: Digest(of: "root".utf8)))
        for _ in 0..<count {
            let path = folder + "/new"
            _ = FileManager.default.createFile(atPath: path, contents: nil)
            let file = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
            for _ in 0..<mebibytes {
                let words = (0..<(1 << 17)).map { _ in random.next() }
                try file.write(contentsOf: words.withUnsafeBytes { Data($0) })
            }
            try file.close()
            let digest = try Digest("sha256:" + sha256(of: path))
            try FileManager.default.moveItem(atPath: path, toPath: folder + "/" + digest.hex)
            try add(digest, size: Int64(mebibytes) << 20, root)
        }
    }

    /// Files that are there already.
    public init(of folder: String) throws {
        self.folder = folder
        let root = try graph.addRecord(.record(content: Digest(of: "root".utf8)))
        for name in try FileManager.default.contentsOfDirectory(atPath: folder).sorted() {
            let size = try FileManager.default.attributesOfItem(atPath: folder + "/" + name)[.size] as? Int64
            try add(try Digest("sha256:" + name), size: size ?? 0, root)
        }
    }

    private mutating func add(_ digest: Digest, size: Int64, _ root: RecordID) throws {
        let descriptor = Descriptor(
            mediaType: .layer(.uncompressed), digest: digest, size: size,
            annotations: [Annotation.uncompressed: digest.description])
        let result = CacheResult(layer: try graph.addLayer(descriptor), createdAt: .zero)
        try graph.addRecord(.record(operation: digest, output: 0), inputs: [[Link(root)]], results: [result])
    }
}

/// Xorshift: the system's generator takes longer than an upload.
private struct FastRandom {
    var state: UInt64

    mutating func next() -> UInt64 {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return state
    }
}

/// A file that is the only blob.
public struct FileSource: BlobSource {
    private let path: String

    /// Names the file.
    public init(path: String) { self.path = path }

    /// Opens the file, whatever blob is asked for.
    public func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        try await BlobStream.file(at: path, range: range)
    }
}

/// By a program: what this process holds in memory counts as held by those that it starts.
private func sha256(of path: String) throws -> String {
    let (process, pipe) = (Process(), Pipe())
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["openssl", "dgst", "-sha256", "-r", path]
    process.standardOutput = pipe
    try process.run()
    let printed = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return String(decoding: printed.prefix(64), as: UTF8.self)
}
