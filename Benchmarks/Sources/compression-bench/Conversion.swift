import BenchSupport
import BuildCache
import Foundation
import NIOCore

/// One conversion of one layer, done by a process of its own so that its memory can be told.
///
/// Its command line is `convert FILE FROM SHA256 TO DIRECTORY [COPY]`; it prints the size of the result and the peak of memory, in
/// bytes, and the digest of the result.
struct Conversion {
    var file: String
    var from: Compression
    var digest: Digest
    var to: Compression
    var directory: String
    /// Where to leave a copy of the result, if anywhere.
    var copy: String?

    var command: Command {
        Command(
            line: [
                CommandLine.arguments[0], "convert", file, from.rawValue, digest.description, to.rawValue, directory,
            ] + (copy.map { [$0] } ?? []))
    }

    init(_ file: String, _ from: Compression, _ digest: Digest, to: Compression, in directory: String) {
        self.file = file
        self.from = from
        self.digest = digest
        self.to = to
        self.directory = directory
    }

    init(arguments: [String]) throws {
        guard (5...6).contains(arguments.count), let from = Compression(rawValue: arguments[1]),
            let to = Compression(rawValue: arguments[3])
        else { throw Failure(description: "convert FILE FROM SHA256 TO DIRECTORY [COPY] is expected") }
        self.init(arguments[0], from, try Digest(arguments[2]), to: to, in: arguments[4])
        copy = arguments.dropFirst(5).first
    }

    // By a program: what this process holds in memory counts as held by those that it starts.
    static func digest(of path: String) throws -> Digest {
        let line = try Command(line: ["openssl", "dgst", "-sha256", "-r", path]).printed()
        return try Digest("sha256:\(line.prefix(64))")
    }

    static func size(of path: String) throws -> Int64 {
        (try FileManager.default.attributesOfItem(atPath: path)[.size] as? NSNumber)?.int64Value ?? 0
    }

    func run() async throws {
        let layer = Descriptor(mediaType: .layer(from), digest: digest, size: try Conversion.size(of: file))
        try await ScratchStore.withTemporary(in: directory) { scratch in
            let options = CompressionOptions(type: to, force: true)
            let converted = try await scratch.layer(from: layer, in: FileSource(path: file), to: options)
            if let copy {
                _ = FileManager.default.createFile(atPath: copy, contents: nil)
                let file = try FileHandle(forWritingTo: URL(fileURLWithPath: copy))
                for try await chunk in try await converted.source.open(converted.descriptor, range: nil) {
                    try file.write(contentsOf: Data(chunk.readableBytesView))
                }
                try file.close()
            }
            let usage = rusage(ofChildren: false)
            #if os(Linux)
                let unit = 1024
            #else
                let unit = 1
            #endif
            print(converted.descriptor.size, Int(usage.ru_maxrss) * unit, converted.descriptor.digest)
        }
    }
}
