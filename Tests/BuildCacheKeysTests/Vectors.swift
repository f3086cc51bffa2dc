import BuildCacheCore
import Foundation
import TestTools

@testable import BuildCacheKeys

/// Inputs with BuildKit's own answers, from `Tests/Fixtures`.
enum Vectors {
    static func all(_ file: String) throws -> [JSONValue] { try document(file)["vectors"].array }
    static func document(_ file: String) throws -> JSONValue {
        try FixtureArchive.document("cache-keys/\(file).json")
    }
}

extension JSONValue {
    var digest: Digest? { string.flatMap { try? Digest($0) } }

    var platform: LLB.Platform {
        var platform = LLB.Platform(
            os: self["OS"].string ?? "", architecture: self["Architecture"].string ?? "",
            variant: self["Variant"].string ?? "")
        platform.osVersion = self["OSVersion"].string ?? ""
        platform.osFeatures = self["OSFeatures"].strings
        return platform
    }

    /// The selector that a vector of contents describes.
    var selector: ContentSelector {
        let path = self["pathBase64"].base64 ?? Array((self["path"].string ?? "").utf8)
        var selector = ContentSelector(path, followsLinks: self["followLinks"].bool)
        selector.isWildcard = self["wildcard"].bool
        selector.include = self["include"].strings
        selector.exclude = self["exclude"].strings
        selector.required = self["required"].strings
        return selector
    }

    /// A message by the names that its fields have in JSON.
    func message<Message: LLBMessage>(_ type: Message.Type = Message.self) throws(CacheError) -> Message {
        var reader = JSONFields(value: self)
        var message = Message()
        try message.visit(&reader)
        return message
    }

    /// A tree of files, as the vectors list them.
    func tree(_ origin: ContentTreeBuilder.Origin) throws -> ContentTree {
        var builder = ContentTreeBuilder(origin)
        for file in array { try builder.add(file) }
        return builder.finish()
    }
}

extension ContentTreeBuilder {
    mutating func add(_ file: JSONValue) throws {
        let path = file["pathBase64"].base64 ?? Array((file["path"].string ?? "").utf8)
        let link = file["linkBase64"].base64 ?? Array((file["link"].string ?? "").utf8)
        var metadata = FileMetadata()
        switch file["type"].string {
        case "dir": metadata.kind = .directory
        case "symlink": metadata.kind = .symlink(link)
        case "char": metadata.kind = .characterDevice
        case "block": metadata.kind = .blockDevice
        case "fifo": metadata.kind = .fifo
        case "socket": metadata.kind = .socket
        case "hardlink": return try addHardLink(path, to: link)
        default: metadata.kind = .regular
        }
        metadata.permissions = UInt32(file["mode"].string ?? "0644", radix: 8) ?? 0
        metadata.uid = UInt32(file["uid"].number ?? 0)
        metadata.gid = UInt32(file["gid"].number ?? 0)
        metadata.deviceMajor = file["major"].number ?? 0
        metadata.deviceMinor = file["minor"].number ?? 0
        for (name, value) in file["xattrs"].object { metadata.attributes[Array(name.utf8)] = value.base64 ?? [] }
        try add(path, metadata, data: file["data"].base64 ?? [])
    }
}

/// Fills a message from JSON.
struct JSONFields: FieldVisitor {
    var value: JSONValue

    private subscript(name: StaticString) -> JSONValue { value["\(name)"] }

    mutating func string(_ number: Int, _ name: StaticString, _ value: inout String) {
        value = self[name].string ?? value
    }
    mutating func strings(_ number: Int, _ name: StaticString, _ value: inout [String]) { value = self[name].strings }
    mutating func bytes(_ number: Int, _ name: StaticString, _ value: inout [UInt8]) {
        value = self[name].base64 ?? value
    }
    mutating func list(_ number: Int, _ name: StaticString, _ value: inout [[UInt8]]) {
        value = self[name].array.compactMap(\.base64)
    }
    mutating func bool(_ number: Int, _ name: StaticString, _ value: inout Bool) { value = self[name].bool }
    mutating func integer<Value: FixedWidthInteger & Sendable>(
        _ number: Int, _ name: StaticString, _ value: inout Value
    ) { value = self[name].number.map { Value($0) } ?? value }
    mutating func integers<Value: FixedWidthInteger & Sendable>(
        _ number: Int, _ name: StaticString, _ value: inout [Value]
    ) { value = self[name].array.compactMap { $0.number.map { Value($0) } } }
    mutating func member<Value: FixedWidthInteger & Sendable>(
        _ number: Int, _ name: StaticString, _ value: inout Value?
    ) { value = (self[name].number ?? self.value["byID"].number).map { Value($0) } }
    mutating func message<Value: LLBMessage>(
        _ number: Int, _ name: StaticString, _ value: inout Value?
    ) throws(CacheError) { value = self[name].isNull ? nil : try self[name].message() }
    mutating func messages<Value: LLBMessage>(
        _ number: Int, _ name: StaticString, _ value: inout [Value]
    ) throws(CacheError) {
        value = []
        for element in self[name].array { value.append(try element.message()) }
    }
    mutating func map(_ number: Int, _ name: StaticString, _ value: inout [LLB.Attribute]) {
        value = self[name].object.map { LLB.Attribute($0.key, $0.value.string ?? "") }
    }
    mutating func entries<Value: LLBMessage>(
        _ number: Int, _ name: StaticString, _ value: inout [LLB.Entry<Value>]
    ) throws(CacheError) {
        value = []
        for (key, element) in self[name].object {
            value.append(LLB.Entry(name: key, value: try element.message()))
        }
    }
}
