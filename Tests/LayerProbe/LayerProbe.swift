import BuildCacheBytes
import BuildCacheCore
import Foundation
import NIOCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// Unpacks layers in a process of its own: another user, a process that is killed, a process whose memory is measured.
///
///     LayerProbe apply <user, 0 for this one> <workers> <mode> <directory> <tar>…
///     LayerProbe unpack <user> <workers> <mode> <directory> <tar>…
///
///     LayerProbe pack <user> <workers> <mode> <directory> [<base>]
///
/// `apply` changes the directory in place, one tar after the other; `unpack` makes it of all of them. Modes are words, joined by commas:
/// overlay, devices, inside, recorded, entries=N, bytes=N, kill=N, and for packing kept, recorded, latest=N. It prints one line of JSON.
@main
struct LayerProbe {
    struct Outcome: Codable {
        var error: String?
        var message: String?
        var entries: Int64 = 0
        var skipped: [[String]] = []
        var diffID: String?
    }

    static func main() async throws {
        let arguments = Array(CommandLine.arguments.dropFirst())
        guard arguments.count >= 5, let user = UInt32(arguments[1]), let workers = Int(arguments[2]) else {
            throw Usage.wrong
        }
        if user != 0 {
            guard setgroups(0, nil) == 0, setgid(user) == 0, setuid(user) == 0 else { throw Usage.noUser }
        }
        var outcome = Outcome()
        do {
            if arguments[0] == "pack" { return try await pack(arguments) }
            let unpacker = LayerUnpacker(options: try options(arguments[3], workers))
            let directory = arguments[4]
            var report = UnpackReport()
            if arguments[0] == "unpack" {
                report = try await unpacker.unpack(
                    arguments[5...].map(layer),
                    from: Files(paths: Array(arguments[5...]), lifetime: number("kill", in: arguments[3])),
                    to: directory)
            } else {
                for tar in arguments[5...] {
                    report = try await unpacker.apply(try await BlobStream.file(at: tar), onto: directory)
                }
            }
            outcome.entries = report.entries
            outcome.skipped = report.skipped.map { [$0.path, $0.what] }
        } catch let error as CacheError {
            (outcome.error, outcome.message) = ("\(error.code)", error.description)
        }
        try show(outcome)
    }

    static func show(_ outcome: Outcome) throws {
        print(String(decoding: try JSONEncoder().encode(outcome), as: UTF8.self))
    }

    static func pack(_ arguments: [String]) async throws {
        var options = LayerPacker.Options()
        for word in arguments[3].split(separator: ",") {
            switch word {
            case "kept": options.owners = .kept
            case "recorded": options.owners = .recorded
            default: options.latestTime = Int64(word.drop { $0 != "=" }.dropFirst()).flatMap { Timestamp(seconds: $0) }
            }
        }
        let directory = arguments[4]
        let tree: LayerPacker.Tree =
            arguments.count > 5 ? .difference(of: directory, from: arguments[5]) : .directory(directory)
        let layer = try await LayerPacker(tree, options: options).pack { _ in }
        try show(Outcome(entries: layer.entries, diffID: "\(layer.diffID)"))
    }

    enum Usage: Error { case wrong, noUser }

    static func options(_ mode: String, _ workers: Int) throws -> LayerUnpacker.Options {
        var options = LayerUnpacker.Options()
        options.workers = workers
        for word in mode.split(separator: ",") {
            switch word {
            case "overlay": options.removals = .overlay
            case "devices": options.devices = .made
            case "inside": options.links = .inside
            case "recorded": options.owners = .recorded
            case "default": break
            case _ where word.hasPrefix("kill="): break
            default:
                let parts = word.split(separator: "=")
                guard parts.count == 2, let number = Int64(parts[1]) else { throw Usage.wrong }
                if parts[0] == "entries" {
                    options.limits.entries = number
                } else {
                    options.limits.decompression = DecompressionLimit(maximumBytes: number, maximumRatio: 0)
                }
            }
        }
        return options
    }

    static func number(_ key: String, in mode: String) -> Int? {
        for word in mode.split(separator: ",") where word.hasPrefix("\(key)=") {
            return Int(word.dropFirst(key.count + 1))
        }
        return nil
    }

    /// A descriptor of a file, which is not read for that.
    static func layer(_ path: String) throws -> Descriptor {
        guard let bytes = FileManager.default.contents(atPath: path) else { throw Usage.wrong }
        return Descriptor(
            mediaType: "application/vnd.oci.image.layer.v1.tar", digest: Digest(of: bytes), size: Int64(bytes.count))
    }

    /// Files by their digests.
    struct Files: BlobSource {
        var paths: [String]
        /// The process ends itself when this many bytes of a file have been read.
        var lifetime: Int?

        func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
            for path in paths where try LayerProbe.layer(path).digest == descriptor.digest {
                let file = try await BlobStream.file(at: path, range: range)
                guard let lifetime else { return file }
                return BlobStream(length: file.length) {
                    var chunks = file.makeAsyncIterator()
                    var rest = ByteBuffer()
                    var passed = 0
                    return {
                        if rest.readableBytes == 0, let chunk = try await chunks.next() { rest = chunk }
                        guard rest.readableBytes > 0 else { return nil }
                        passed += min(4096, rest.readableBytes)
                        if passed >= lifetime { kill(getpid(), SIGKILL) }
                        return rest.readSlice(length: min(4096, rest.readableBytes))
                    }
                }
            }
            throw CacheError(.notFound, "no such file")
        }
    }
}
