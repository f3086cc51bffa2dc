import BuildCacheCore
import Foundation
import TestTools
import Testing

@testable import BuildCacheBytes

/// The process that unpacks: this one, or one of a user without privileges.
enum UnpackingUser: String, CaseIterable, Sendable {
    case root, other

    /// The users that this process can be.
    static let available = geteuid() == 0 ? allCases : [.other]
    var number: UInt32 { self == .root || geteuid() != 0 ? 0 : 65_534 }
    var isPrivileged: Bool { self == .root }
}

@Suite("Unpacking a tar of the specification")
struct UnpackVectorTests {
    @Test(
        "gives the tree or the error that the specification says, and changes nothing outside",
        arguments: LayerVectors.all.unpack, UnpackingUser.available)
    func vector(_ vector: LayerVectors.Unpack, _ user: UnpackingUser) async throws {
        for workers in [1, 8] {
            let outside = try Outside()
            let directory = outside.directory
            if user.number != 0 { #expect(chown(directory, user.number, user.number) == 0) }
            if let base = vector.base {
                let outcome = try await run("apply", vector, user, workers, directory, [base])
                #expect(outcome.error == nil, "\(outcome.message ?? "")")
            }
            // A layer that is compressed comes from a store.
            let isStored = vector.tar.hasSuffix(".gz")
            let outcome = try await run(
                isStored ? "unpack" : "apply", vector, user, workers, isStored ? directory + "/new" : directory,
                [vector.tar])
            try outside.expectUnchanged()
            guard vector.expect == "ok" else {
                #expect(outcome.error == UnpackVectorTests.error(vector), "\(outcome.message ?? "")")
                continue
            }
            let tree = try #require(vector.tree)
            #expect(outcome.error == nil, "\(outcome.message ?? "")")
            try TreeCheck(vector, user).check(try DiskTree(directory), tree)
            if let skipped = vector.skipped {
                let expected = Set(skipped.map { $0.joined(separator: ": ") })
                #expect(expected.isSubset(of: Set(outcome.skipped.map { $0.joined(separator: ": ") })))
            }
        }
    }

    /// Sparse files are expanded, other than the page of the specification said; the one of the old form has data beside its map.
    private static func error(_ vector: LayerVectors.Unpack) -> String? {
        switch vector.name {
        case "sparse-pax-1.0": nil
        case "sparse-old-gnu": "corrupted"
        default: vector.error
        }
    }

    @Test("expands a sparse file of PAX 1.0")
    func sparse() async throws {
        let outside = try Outside()
        let tar = try await BlobStream.file(at: LayerVectors.folder + "/unpack/sparse-pax-1.0.tar")
        _ = try await LayerUnpacker().apply(tar, onto: outside.directory)
        let file = try #require(try DiskTree(outside.directory).nodes["a"])
        #expect(file.bytes == Array("x".utf8) + [UInt8](repeating: 0, count: 4095))
    }

    @Test("makes devices where that is asked for and permitted", .enabled(if: geteuid() == 0))
    func devices() async throws {
        for vector in LayerVectors.all.unpack {
            guard let devices = vector.withDevices else { continue }
            let outside = try Outside()
            var options = LayerUnpacker.Options()
            options.devices = .made
            let tar = try await BlobStream.file(at: "\(LayerVectors.folder)/\(vector.tar)")
            let report = try await LayerUnpacker(options: options).apply(tar, onto: outside.directory)
            #expect(report.skippedCount == 0)
            let tree = try #require(vector.tree).merging(devices) { $1 }
            try TreeCheck(vector, .root).check(try DiskTree(outside.directory), tree)
        }
    }

    private func run(
        _ command: String, _ vector: LayerVectors.Unpack, _ user: UnpackingUser, _ workers: Int, _ directory: String,
        _ tars: [String]
    ) async throws -> ProbeOutcome {
        var words = ["default"]
        if vector.mode == "overlay" { words.append("overlay") }
        if let entries = vector.options?.limits?.entries { words.append("entries=\(entries)") }
        if let bytes = vector.options?.limits?.bytes { words.append("bytes=\(bytes)") }
        let paths = tars.map { "\(LayerVectors.folder)/\($0)" }
        let arguments = [command, "\(user.number)", "\(workers)", words.joined(separator: ","), directory] + paths
        let output = try await Tool.built("LayerProbe").output(arguments)
        return try JSONDecoder().decode(ProbeOutcome.self, from: Data(output))
    }
}

/// The line that LayerProbe prints.
struct ProbeOutcome: Decodable {
    var error: String?
    var message: String?
    var entries: Int64
    var skipped: [[String]]
    var diffID: String?
}

/// A directory with others around it, which must stay as they are.
struct Outside {
    private let parent: TemporaryDirectory
    /// The directory to unpack to, three levels down.
    let directory: String
    private let before: [String]

    init() throws {
        parent = try TemporaryDirectory()
        directory = parent.path + "/a/b/c/tree"
        for path in ["a/b/c/tree", "outside", "a/outside", "a/b/outside"] {
            try FileManager.default.createDirectory(
                atPath: "\(parent.path)/\(path)", withIntermediateDirectories: true)
        }
        for path in ["evil-not", "a/f", "a/b/f", "a/b/c/f", "outside/f"] {
            try Data("kept".utf8).write(to: URL(filePath: "\(parent.path)/\(path)"))
        }
        // Another user must get through.
        chmod(parent.path, 0o755)
        before = try Outside.state(parent.path)
    }

    func expectUnchanged() throws {
        #expect(try Outside.state(parent.path) == before)
        #expect(!FileManager.default.fileExists(atPath: "/tmp/evil"))
    }

    /// Everything but the tree itself and the times of the directory that holds it.
    private static func state(_ path: String) throws -> [String] {
        var lines: [String] = []
        let names = try FileManager.default.subpathsOfDirectory(atPath: path)
        for name in names.sorted() where !name.hasPrefix("a/b/c/tree") {
            let status = withCString(Array("\(path)/\(name)".utf8)) { FileStatus(of: $0, in: AT_FDCWD) }
            lines.append("\(name) \(String(describing: status))")
        }
        return lines
    }
}
