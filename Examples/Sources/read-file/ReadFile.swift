// Reads one file out of the eStargz layers of a cache or image, and fetches no more of a layer than its table of contents and that file.
//
//     swift run copy-cache --from type=local,src=a --to type=local,dest=b,compression=estargz,force-compression=true
//     swift run read-file --from type=local,src=b etc/os-release > os-release
//
//     fetched 2048 of 3145728 bytes of sha256:9f86d081884c
import ArgumentParser
import BuildCache
import ExampleSupport
import Foundation
import Synchronization

@main
struct ReadFile: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "read-file", abstract: "Reads a file out of an eStargz layer.")
    @Option(help: "A cache or image, as docker buildx --cache-from takes it.") var from: String
    @Argument(help: "The path of the file; without it the paths of all files are printed.") var path: String?

    func run() async throws {
        try await ScratchStore.withTemporary { scratch in
            let importer = try CacheSpec(from, for: .import).makeImporter(scratch: scratch)
            try await importer.withImport { cache in
                guard let cache else { throw CacheError(.notFound, "\(from) has no cache yet") }
                let layers = cache.graph.descriptors.values.filter {
                    $0.annotations[Annotation.estargzTOCDigest] != nil
                }
                guard !layers.isEmpty else { throw CacheError(.unsupported, "the cache has no eStargz layer") }
                // The newest layer with the file counts.
                for layer in layers.sorted(by: { $0.createdAt ?? .zero > $1.createdAt ?? .zero }) {
                    let source = CountingSource(base: cache.blobs)
                    let lazy = try await LazyLayer.open(layer, in: source)
                    guard let path else {
                        for entry in lazy.entries { print(short(layer.digest), entry.kind.rawValue, plain(entry.path)) }
                        continue
                    }
                    guard lazy[path] != nil else { continue }
                    for try await chunk in try await lazy.read(path) {
                        try FileHandle.standardOutput.write(contentsOf: Data(chunk.readableBytesView))
                    }
                    let text = "fetched \(source.bytes) of \(layer.size) bytes of \(short(layer.digest))\n"
                    FileHandle.standardError.write(Data(text.utf8))
                    return
                }
                if let path { throw CacheError(.notFound, "no eStargz layer has the file \(plain(path))") }
            }
        }
    }
}

/// A source that counts the bytes that are asked of it.
final class CountingSource: BlobSource {
    private let base: any BlobSource
    private let count = Mutex<Int64>(0)

    init(base: any BlobSource) { self.base = base }

    var bytes: Int64 { count.withLock { $0 } }

    func open(_ layer: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        count.withLock { $0 += Int64(range?.count ?? Int(layer.size)) }
        return try await base.open(layer, range: range)
    }
}
