// Makes an image of a base image and a tar, perhaps with a build cache inside, and stores it under a new name.
//
//     swift run append-layer --base type=local,src=layout,tag=base --tar app.tar --to type=local,dest=layout,tag=app
//     swift run append-layer … --cache type=local,src=cache          puts the records of that cache into the image
//
//     app is sha256:6a1f…: 4 layers, the last sha256:9f86… with 1.2 MiB
import ArgumentParser
import BuildCache
import ExampleSupport
import Foundation

@main
struct AppendLayer: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "append-layer", abstract: "Puts a tar on top of an image.")
    @Option(help: "The base image: type=local,src=DIRECTORY[,tag=TAG] or a reference.") var base: String
    @Option(help: "The uncompressed tar of the new layer.") var tar: String
    @Option(help: "The place and name of the result: type=local,dest=DIRECTORY[,tag=TAG] or a reference.") var to:
        String
    @Option(help: "A cache whose records go into the image.") var cache: String?
    @Option(help: "The operating system and processor, as in linux/arm64.") var platform: String?
    @Option(help: "The step that made the layer, for the image's history.") var createdBy = "append-layer"

    private func chosenPlatform() throws -> Platform? {
        guard let platform else { return nil }
        let parts = platform.split(separator: "/").map(String.init)
        guard (2...3).contains(parts.count) else { throw ValidationError("--platform is OS/ARCHITECTURE[/VARIANT]") }
        return Platform(os: parts[0], architecture: parts[1], variant: parts.count > 2 ? parts[2] : nil)
    }

    func run() async throws {
        let chosen = try chosenPlatform()
        try await ScratchStore.withTemporary { [tar] scratch in
            let (source, baseName) = try await CacheSpec(base, for: .import).openImages()
            let (target, name) = try await CacheSpec(to, for: .export).openImages()

            let base = try await source.image(baseName, platform: chosen)
            let layer = try await scratch.layer(createdAt: .now()) { try await .file(at: tar) }
            let image = try base.appending(layer, createdBy: createdBy)
            var root = try await target.publish(image, as: name)

            if let cache {
                let graph = try await readGraph(from: CacheClient(cacheFrom: [cache], scratch: scratch))
                let receipt = try await InlineCache(scratch: scratch).embed(graph, into: name, in: target)
                for problem in receipt.problems { FileHandle.standardError.write(Data("warning: \(problem)\n".utf8)) }
                root = receipt.published[name] ?? root
            }
            print(
                "\(plain(name)) is \(root.digest): \(image.layers.count) layers, "
                    + "the last \(layer.descriptor.digest) with \(size(layer.descriptor.size))")
        }
    }
}
