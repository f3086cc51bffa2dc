import BuildCacheBytes
import BuildCacheCore
import BuildCacheClient
import BuildCacheOCI
import Foundation
import NIOCore
import Synchronization
import Testing

/// A directory of one test, gone with it.
final class Scratch: Sendable {
    let path: String

    init() throws {
        path = NSTemporaryDirectory() + "build-cache-local-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// Where tests keep their layout: a directory that does not exist at first.
    var layout: String { path + "/layout" }

    func names(in directory: String) -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: path + "/" + directory)) ?? []).sorted()
    }

    func bytes(of file: String) -> [UInt8]? {
        FileManager.default.contents(atPath: path + "/" + file).map { [UInt8]($0) }
    }

    /// Every file with its bytes, permissions and time.
    var snapshot: [String: [String]] {
        let files = FileManager.default.enumerator(atPath: path)?.compactMap { $0 as? String } ?? []
        return Dictionary(
            uniqueKeysWithValues: files.map { file in
                let attributes = try? FileManager.default.attributesOfItem(atPath: path + "/" + file)
                let isFile = attributes?[.type] as? FileAttributeType == .typeRegular
                return (
                    file,
                    [
                        "\(Digest(of: (isFile ? bytes(of: file) : nil) ?? []))",
                        "\(attributes?[.posixPermissions] ?? "")",
                        "\(attributes?[.modificationDate] ?? "")",
                    ]
                )
            })
    }

    func write(_ text: String, to file: String) throws {
        let url = URL(fileURLWithPath: path + "/" + file)
        try FileManager.default.createDirectory(at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(text.utf8).write(to: url)
    }

    func makeDirectory(_ name: String) throws {
        try FileManager.default.createDirectory(atPath: path + "/" + name, withIntermediateDirectories: true)
    }

    func remove(_ name: String) throws { try FileManager.default.removeItem(atPath: path + "/" + name) }

    func link(_ name: String, to target: String) throws {
        try FileManager.default.createSymbolicLink(atPath: path + "/" + name, withDestinationPath: target)
    }

    /// Makes a file or directory look as if it was last changed so many seconds ago.
    func age(_ name: String, seconds: Double) throws {
        try FileManager.default.setAttributes(
            [.modificationDate: Date(timeIntervalSinceNow: -seconds)], ofItemAtPath: path + "/" + name)
    }
}

/// Bytes in memory; counts how often it was opened.
final class MemorySource: BlobSource {
    private let blobs: [Digest: [UInt8]]
    private let chunkSize: Int
    private let count = Mutex(0)

    init(_ blobs: [[UInt8]], chunkSize: Int = 1 << 20) {
        self.blobs = Dictionary(blobs.map { (Digest(of: $0), $0) }) { first, _ in first }
        self.chunkSize = chunkSize
    }

    var opened: Int { count.withLock { $0 } }

    func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        count.withLock { $0 += 1 }
        guard let bytes = blobs[descriptor.digest] else { throw CacheError(.notFound, "no such blob in memory") }
        return .chunks(of: bytes, size: chunkSize)
    }
}

/// Gives the same stream for whatever is asked.
struct FixedSource: BlobSource {
    var stream: BlobStream
    func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream { stream }
}

extension BlobStream {
    static func chunks(of bytes: [UInt8], size: Int) -> BlobStream {
        BlobStream(length: Int64(bytes.count)) {
            var rest = bytes[...]
            return {
                guard !rest.isEmpty else { return nil }
                defer { rest = rest.dropFirst(size) }
                return ByteBuffer(bytes: rest.prefix(size))
            }
        }
    }

    func collected() async throws -> [UInt8] {
        var bytes: [UInt8] = []
        for try await chunk in self { bytes += chunk.readableBytesView }
        return bytes
    }
}

extension Descriptor {
    init(of bytes: [UInt8], mediaType: MediaType = .ociManifest) {
        self.init(mediaType: mediaType, digest: Digest(of: bytes), size: Int64(bytes.count))
    }
}

/// A cache as the layout sees it: some blobs, and a manifest that names them.
struct SampleCache: Sendable {
    var blobs: [[UInt8]]

    /// Blobs made of `seed`, so that two seeds share nothing but the first, small one.
    init(_ seed: String) {
        blobs = [
            Array("shared by all".utf8), Array("layer of \(seed)".utf8),
            Array(repeating: seed.utf8.first ?? 0, count: 3000),
        ]
    }

    /// One digest and size per line; what a real manifest says, for a test to follow.
    var manifest: [UInt8] {
        Array(blobs.map { "\(Digest(of: $0)) \($0.count)" }.joined(separator: "\n").utf8)
    }

    /// All an exporter does to a layout.
    func export(to layout: OCILayout, tag: String) async throws {
        let lease = try await layout.prepare()
        defer { lease.end() }
        let source = MemorySource(blobs + [manifest], chunkSize: 1000)
        for blob in blobs { try await layout.put(Descriptor(of: blob), from: source) }
        try await layout.put(Descriptor(of: manifest), from: source)
        try await layout.setTag(tag, to: Descriptor(of: manifest))
    }

    /// What a manifest's text names.
    static func descriptors(in manifest: [UInt8]) throws -> [Descriptor] {
        try String(decoding: manifest, as: UTF8.self).split(separator: "\n").map { line in
            let parts = line.split(separator: " ")
            let size = try #require(parts.last.flatMap { Int64($0) })
            return Descriptor(mediaType: "", digest: try Digest(parts[0]), size: size)
        }
    }
}

extension OCILayout {
    /// The digest of the manifest each tag names, after reading and verifying all that is reachable.
    func verifiedTags() async throws -> [String: Digest] {
        var tags: [String: Digest] = [:]
        for entry in try await index()?.entries ?? [] {
            let descriptor = try entry.descriptor()
            let manifest = try await open(descriptor, range: nil).collected()
            try #require(Digest(of: manifest) == descriptor.digest)
            for blob in try SampleCache.descriptors(in: manifest) {
                let bytes = try await open(blob, range: nil).collected()
                try #require(Digest(of: bytes) == blob.digest)
            }
            tags[try #require(entry.referenceName)] = descriptor.digest
        }
        return tags
    }

    /// What a sweep has to keep of caches like ``SampleCache``.
    func reachable(from index: OCILayoutIndex) async throws -> Set<Digest> {
        var digests: Set<Digest> = []
        for entry in index.entries {
            let descriptor = try entry.descriptor()
            digests.insert(descriptor.digest)
            let manifest = try await open(descriptor, range: nil).collected()
            digests.formUnion(try SampleCache.descriptors(in: manifest).map(\.digest))
        }
        return digests
    }
}

/// Set once, seen by all.
final class Flag: Sendable {
    private let state = Mutex(false)
    var isSet: Bool { state.withLock { $0 } }
    func set() { state.withLock { $0 = true } }
}

/// Counted by some, read by others.
final class Counter: Sendable {
    private let state = Mutex(0)
    var value: Int { state.withLock { $0 } }
    func increment() { state.withLock { $0 += 1 } }
}
