import BuildCache
import Foundation
import NIOCore

/// Files of random bytes, as the layers of a cache.
struct Layers {
    let folder: String
    private(set) var descriptors: [Descriptor] = []
    private(set) var graph = LayerGraph()

    /// Writes `count` files of so many MiB each, with bytes that nothing can compress or share.
    init(in folder: String, count: Int, mebibytes: Int) throws {
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
            let digest = try Data(contentsOf: URL(fileURLWithPath: path), options: .alwaysMapped).withUnsafeBytes {
                Digest(of: $0)
            }
            try FileManager.default.moveItem(atPath: path, toPath: folder + "/" + digest.hex)
            try add(digest, size: Int64(mebibytes) << 20, root)
        }
    }

    /// Files that are there already.
    init(of folder: String) throws {
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
        descriptors.append(descriptor)
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

/// The files of a folder as blobs, read a mebibyte at a time.
struct FolderSource: BlobSource {
    let folder: String

    func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        let path = folder + "/" + descriptor.digest.hex
        return BlobStream(length: descriptor.size) {
            let file = FileHandle(forReadingAtPath: path)
            return {
                guard let file, let data = try file.read(upToCount: 1 << 20), !data.isEmpty else { return nil }
                return ByteBuffer(bytes: data)
            }
        }
    }
}
