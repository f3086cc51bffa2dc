// Makes layers of directories, and directories of layers.
//
//     swift run layer pack out --output layer.tar
//     swift run layer pack out --base before --ignore .dockerignore --epoch 1700000000 --output layer.tar --json
//     swift run layer unpack base.tar.gz layer.tar --into rootfs
//     swift run layer unpack layer.tar --into layers/2 --overlay --json
//
//     diffID sha256:5f70bf18…  1.2 MiB  38 entries
//     38 entries  1.1 MiB  1 left out
//       dev/null: character device 1:3 (devices are not asked for)
import ArgumentParser
import BuildCacheClient
import Foundation

@main
struct Layer: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "layer", abstract: "Makes layers of directories, and directories of layers.",
        subcommands: [Pack.self, Unpack.self])
}

/// The command `layer pack`.
struct Pack: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Makes the tar of a layer, with the bytes that BuildKit makes of the same files.")
    @Argument(help: "The directory.") var directory: String
    @Option(help: "Pack the differences to this directory.") var base: String?
    @Option(help: "A .dockerignore with the paths to leave out.") var ignore: String?
    @Option(help: "Replace later dates by this one, in seconds since 1970.") var epoch: Int64?
    @Flag(help: "Keep the owners of files; otherwise all belong to root.") var keepOwners = false
    @Option(help: "The tar to write.") var output: String
    @Flag(name: .customLong("json"), help: "Print JSON.") var asJSON = false

    func run() async throws {
        try await reportingErrors(asJSON: asJSON) {
            var options = LayerPacker.Options()
            if keepOwners { options.owners = .kept }
            options.latestTime = epoch.flatMap { Timestamp(seconds: $0) }
            if let ignore {
                options.ignore = try IgnorePatterns(parsing: String(contentsOfFile: ignore, encoding: .utf8))
            }
            let tree = base.map { LayerPacker.Tree.difference(of: directory, from: $0) } ?? .directory(directory)
            let layer = try await LayerPacker(tree, options: options).write(to: output)
            let result = Result(
                diffID: "\(layer.diffID)", entries: layer.entries, bytes: layer.size, leftOut: layer.skippedCount,
                skipped: layer.skipped.map(Result.Skipped.init))
            try result.show(asJSON: asJSON)
        }
    }
}

/// The command `layer unpack`.
struct Unpack: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Makes a directory of layers: all of them, or nothing at all.")
    @Argument(help: "The layers, the lowest first: tars, gzip or zstd.") var files: [String]
    @Option(help: "The directory to make.") var into: String
    @Flag(help: "Note removals as overlayfs does, for a directory that holds one layer.") var overlay = false
    @Flag(help: "Replace a directory of this name.") var replace = false
    @Flag(name: .customLong("json"), help: "Print JSON.") var asJSON = false

    func run() async throws {
        try await reportingErrors(asJSON: asJSON) {
            var options = LayerUnpacker.Options()
            if overlay { options.removals = .overlay }
            var layers: [BlobStream] = []
            for file in files { layers.append(try await BlobStream.file(at: file)) }
            let report = try await LayerUnpacker(options: options).unpack(layers, to: into, replacing: replace)
            let result = Result(
                entries: report.entries, bytes: report.bytes, leftOut: report.skippedCount,
                skipped: report.skipped.map(Result.Skipped.init))
            try result.show(asJSON: asJSON)
        }
    }
}

/// Prints a refusal with its code, as text or JSON, and ends with status 1.
func reportingErrors(asJSON: Bool, _ body: () async throws -> Void) async throws {
    do { try await body() } catch let error as CacheError {
        let line =
            asJSON
            ? try Refusal(error: "\(error.code)", message: error.description).json
            : "error: \(error.description)"
        FileHandle.standardError.write(Data("\(line)\n".utf8))
        throw ExitCode.failure
    }
}
