// Puts build caches into the config of an image that is stored somewhere, for all platforms of it.
//
//     swift run inline-cache --from type=local,src=cache --image type=local,src=layout,tag=app --name app-with-cache
//
//     app-with-cache is sha256:6a1f…: 2 images, 0 layers converted
import ArgumentParser
import BuildCache
import ExampleSupport
import Foundation

@main
struct InlineCacheExample: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inline-cache", abstract: "Puts build caches into an image.")
    @Option(help: "A cache to read, as docker buildx --cache-from takes it.") var from: [String]
    @Option(help: "The image, as --cache-from would name it: type=local,src=DIRECTORY[,tag=TAG] or a reference.")
    var image: String
    @Option(help: "What to call the result; without it the image itself is replaced.") var name: String?
    @Option(help: "How to compress the layers of the image: gzip, zstd, estargz, uncompressed.") var compression:
        String?

    func run() async throws {
        try await ScratchStore.withTemporary { scratch in
            let known = try await CacheClient(cacheFrom: from, scratch: scratch).importCaches()
            for outcome in known.outcomes where try outcome.result.get() == nil {
                throw CacheError(.notFound, "\(outcome.source) has no cache yet")
            }
            guard let place = try CacheSpec.parse(image, for: .import).first else {
                throw ValidationError("--image names nothing")
            }
            let (store, oldName) = try await place.openImages()
            let options = compression.map { ",compression=\($0),force-compression=true" } ?? ""
            let inline = try CacheSpec.parse("type=inline\(options)", for: .export)[0].export?.compression

            let cache = InlineCache(compression: inline ?? CompressionOptions(), scratch: scratch)
            let receipt = try await ProgressBar.show { [name] bar in
                try await cache.embed(
                    known.graph, into: oldName, as: name, in: store, progress: ProgressSink { bar.report($0) })
            }
            for problem in receipt.problems { FileHandle.standardError.write(Data("warning: \(problem)\n".utf8)) }
            for (name, descriptor) in receipt.published {
                print(
                    "\(name) is \(descriptor.digest): \(receipt.images.count) images, \(receipt.converted.count) layers converted"
                )
            }
        }
    }
}
