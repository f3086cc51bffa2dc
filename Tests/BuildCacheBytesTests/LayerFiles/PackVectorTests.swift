import BuildCacheCore
import Foundation
import NIOCore
import TestTools
import Testing

@testable import BuildCacheBytes

@Suite("Packing a tree of the specification")
struct PackVectorTests {
    @Test(
        "gives the bytes that BuildKit writes", .enabled(if: geteuid() == 0, "making owners and devices takes root"),
        arguments: LayerVectors.all.pack)
    func vector(_ vector: LayerVectors.Pack) async throws {
        let (folder, tree) = try build(vector)
        var options = LayerPacker.Options()
        options.owners = .kept
        options.latestTime = vector.latestTime.flatMap { Timestamp(seconds: $0) }
        let packer = LayerPacker(tree, options: options)
        var bytes = ByteBuffer()
        let layer = try await packer.pack { bytes.writeImmutableBuffer($0) }
        let expected = try Data(contentsOf: URL(filePath: "\(LayerVectors.folder)/\(vector.tar)"))
        #expect(Data(bytes.readableBytesView) == expected)
        #expect(layer.diffID.description == vector.diffID)
        #expect(layer.size == Int64(expected.count))
        // A stream of the same packer is the same tar.
        let stream = try await packer.open().value()
        #expect(DiffID(stream.digest) == layer.diffID)

        // A user that can read the tree makes the same layer of it; attributes of `trusted` are root's.
        guard vector.kind != "overlay" else { return }
        chmod(folder.path, 0o755)
        let mode = ["kept", vector.latestTime.map { "latest=\($0)" }].compactMap { $0 }.joined(separator: ",")
        var arguments = ["pack", "65534", "8", mode, folder.path + "/tree"]
        if vector.kind == "difference" { arguments.append(folder.path + "/base") }
        let output = try await Tool.built("LayerProbe").output(arguments)
        let outcome = try JSONDecoder().decode(ProbeOutcome.self, from: Data(output))
        let isPrivate = ["modes", "hard-links", "difference"].contains(vector.name)
        #expect(outcome.error == (isPrivate ? "denied" : nil), "\(outcome.message ?? "")")
        if !isPrivate { #expect(outcome.diffID == vector.diffID) }
    }

    private func build(_ vector: LayerVectors.Pack) throws -> (folder: TemporaryDirectory, tree: LayerPacker.Tree) {
        let folder = try TemporaryDirectory()
        let (tree, base) = (folder.path + "/tree", folder.path + "/base")
        try TreeBuilder(root: tree).build(vector.tree)
        if let nodes = vector.base { try TreeBuilder(root: base).build(nodes) }
        let kinds: [String: LayerPacker.Tree] = [
            "tree": .directory(tree), "difference": .difference(of: tree, from: base),
            "overlay": .overlay(upper: tree, base: base),
        ]
        return (folder, try #require(kinds[vector.kind]))
    }
}

@Suite("An ignore file of the specification")
struct IgnoreVectorTests {
    struct Vectors: Decodable {
        struct Case: Decodable, CustomTestStringConvertible, Sendable {
            var name: String
            var file: String
            var patterns: [String]?
            var kept: [String]?
            var error: String?
            var testDescription: String { name }
        }
        var tree: [String]
        var cases: [Case]

        static let all: Vectors = {
            do {
                let data = try Data(contentsOf: URL(filePath: LayerVectors.folder + "/ignore-patterns.json"))
                return try JSONDecoder().decode(Vectors.self, from: data)
            } catch { fatalError("the vectors cannot be read: \(error)") }
        }()
    }

    @Test("keeps the paths that BuildKit keeps", arguments: Vectors.all.cases)
    func vector(_ vector: Vectors.Case) async throws {
        guard vector.error == nil else {
            let error = #expect(throws: CacheError.self) { try IgnorePatterns(parsing: vector.file) }
            #expect(error.map { "\($0.code)" } == vector.error)
            return
        }
        let folder = try TemporaryDirectory()
        for path in Vectors.all.tree {
            let url = URL(filePath: "\(folder.path)/\(path)")
            try FileManager.default.createDirectory(
                at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data().write(to: url)
        }
        var options = LayerPacker.Options()
        options.ignore = try IgnorePatterns(parsing: vector.file)
        #expect(options.ignore.texts == vector.patterns)
        var kept: [String] = []
        for try await change in TreeDifference(.directory(folder.path), options: options) {
            kept.append(change.path + (change.isDirectory ? "/" : ""))
        }
        // A directory that stays only for paths below it does not count as a change.
        let parents = Set(vector.kept ?? []).subtracting(kept)
        #expect(parents.allSatisfy { $0.hasSuffix("/") })
        var tar = ByteBuffer()
        try await LayerPacker(.directory(folder.path), options: options).pack { tar.writeImmutableBuffer($0) }
        #expect(try Self.names(tar) == vector.kept)
    }

    /// The names in a tar, in order.
    private static func names(_ tar: ByteBuffer) throws -> [String] {
        var feed = TarFeed()
        var tar = tar
        var names: [String] = []
        while let event = try feed.next(&tar) {
            if case .entry(let entry) = event { names.append(String(decoding: entry.name, as: UTF8.self)) }
        }
        return names
    }
}
