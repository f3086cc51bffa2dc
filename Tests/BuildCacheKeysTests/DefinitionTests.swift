import BuildCacheCore
import TestTools
import Testing

@testable import BuildCacheKeys

@Suite("A definition")
struct DefinitionTests {
    private static func definition() throws -> LLB.Definition {
        var definition = LLB.Definition()
        let source = try definition.add(LLB.Op(.source(LLB.SourceOp("local://context"))))
        var copy = LLB.Copy()
        copy.source = "/a"
        let action = LLB.FileAction(input: -1, secondaryInput: 0, output: 0, .copy(copy))
        var metadata = LLB.Definition.Metadata()
        metadata.description = [LLB.Attribute("b", "2"), LLB.Attribute("a", "1")]
        let file = try definition.add(
            LLB.Op(.file(LLB.FileOp([action])), inputs: [LLB.Output(source)]), metadata: metadata)
        definition.result = LLB.Output(file)
        return definition
    }

    @Test("keeps fields that the reader does not know, in operations and around them")
    func unknownFields() throws {
        // Field 100 with a number, field 101 with bytes.
        let unknown: [UInt8] = [0xA0, 0x06, 0x07, 0xAA, 0x06, 0x02, 0x68, 0x69]
        let op = LLB.Op(.source(LLB.SourceOp("local://context"))).encoded() + unknown
        let decoded = try LLB.Op(decoding: op)
        #expect(decoded.encoded() == op)
        let bytes = try Self.definition().encoded() + unknown
        #expect(try LLB.Definition(decoding: bytes).encoded() == bytes)
    }

    @Test("keeps what is known of an operation, in the order of its keys")
    func metadata() throws {
        let decoded = try LLB.Definition(decoding: try Self.definition().encoded())
        let file = try #require(decoded.result?.vertex)
        #expect(decoded.metadata(of: file)?.description.map(\.name) == ["a", "b"])
        #expect(decoded.metadata(of: decoded.vertices[0].digest) == nil)
    }

    @Test("is refused if an operation uses one that does not come before it")
    func order() throws {
        let definition = try Self.definition()
        var message = LLB.DefinitionMessage()
        message.operations = definition.vertices.reversed().map(\.bytes)
        let error = #expect(throws: CacheError.self) { try LLB.Definition(decoding: WireWriter.encode(message)) }
        #expect(error?.code == .corrupted)
        var other = LLB.Definition()
        #expect(throws: CacheError.self) { try other.add(definition.vertices[1].op) }
    }

    @Test(
        "is refused if it is not protobuf",
        arguments: [
            [0x0A], [0x0A, 0x05, 0x00], [0x08, 0x80], [0x00, 0x00], [0x0B],
            [0x08] + [UInt8](repeating: 0xFF, count: 9) + [0x02], [0x0A, 0x03, 0x0A, 0x01, 0xFF],
            // The identifier of a source that is not UTF-8.
            [0x0A, 0x05, 0x1A, 0x03, 0x0A, 0x01, 0xFF],
        ])
    func malformed(_ bytes: [UInt8]) {
        let error = #expect(throws: CacheError.self) { try LLB.Definition(decoding: bytes) }
        #expect(error?.code == .corrupted)
    }

    @Test("is refused beyond its limit")
    func limit() throws {
        let bytes = try Self.definition().encoded()
        let error = #expect(throws: CacheError.self) {
            try LLB.Definition(decoding: bytes, maximumBytes: bytes.count - 1)
        }
        #expect(error?.code == .limitExceeded)
    }

    @Test(
        "has platforms in the form of keys",
        arguments: [
            ("Linux", "X86_64", "v1", "linux/amd64"), ("linux", "aarch64", "8", "linux/arm64"),
            ("linux", "arm64", "9", "linux/arm64/v9"), ("linux", "armhf", "", "linux/arm/v7"),
            ("linux", "armel", "", "linux/arm/v6"), ("linux", "arm", "", "linux/arm/v7"),
            ("linux", "arm", "5", "linux/arm/v5"), ("macos", "arm64", "", "darwin/arm64"),
            ("linux", "i386", "x", "linux/386"), ("linux", "amd64", "v3", "linux/amd64/v3"),
        ])
    func platforms(_ os: String, _ architecture: String, _ variant: String, _ expected: String) {
        #expect(LLB.Platform(os: os, architecture: architecture, variant: variant).normalized.text == expected)
    }

    @Test("has a tree where it makes files of nothing")
    func makingFiles() throws {
        var directory = LLB.MakeDirectory()
        directory.path = "/a/b"
        directory.mode = 0o700
        var file = LLB.MakeFile()
        file.path = "/a/b/c"
        file.mode = 0o600
        file.data = [1]
        file.owner = LLB.Owner(user: LLB.User(id: 5))
        let actions = [
            LLB.FileAction(input: -1, .makeDirectory(directory)),
            LLB.FileAction(input: 0, output: 0, .makeFile(file)),
        ]
        var builder = ContentTreeBuilder()
        try builder.add(Array("/a/b".utf8), FileMetadata(.directory, permissions: 0o700))
        try builder.add(Array("/a/b/c".utf8), FileMetadata(permissions: 0o600, uid: 5), data: [1])
        let tree = try #require(try ContentTree(madeBy: LLB.Op(.file(LLB.FileOp(actions)))))
        #expect(try tree.digest(of: .everything) == builder.finish().digest(of: .everything))
        file.owner = LLB.Owner(user: LLB.User(name: "bob", input: -1))
        let named = LLB.Op(.file(LLB.FileOp([LLB.FileAction(input: -1, output: 0, .makeFile(file))])))
        #expect(try ContentTree(madeBy: named) == nil)
    }
}
