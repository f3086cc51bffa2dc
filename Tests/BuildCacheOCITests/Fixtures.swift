import BuildCacheCore
import Foundation
import TestTools

/// Documents that BuildKit wrote.
enum Fixtures {
    /// A document of this repository, from `Tests/Fixtures/oci`.
    static func golden(_ name: String) throws -> [UInt8] {
        Array(try Data(contentsOf: FixtureArchive.repository.appending(path: "oci/\(name).json")))
    }

    /// Whole caches that BuildKit wrote.
    private static let caches = FixtureArchive.buildkit

    /// The caches that are OCI layouts, as in `01-single/inline`.
    static let layouts: [String] = {
        let children = { (path: URL) in (try? FileManager.default.contentsOfDirectory(atPath: path.path)) ?? [] }
        return children(caches).sorted().flatMap { fixture in
            children(caches.appending(path: fixture)).sorted().map { "\(fixture)/\($0)" }
        }.filter { FileManager.default.fileExists(atPath: caches.appending(path: "\($0)/index.json").path) }
    }()

    /// A file of a cache that BuildKit wrote.
    static func file(_ path: String) throws -> [UInt8] {
        Array(try Data(contentsOf: caches.appending(path: path)))
    }

    /// A blob of an OCI layout.
    static func blob(_ digest: Digest, in layout: String) throws -> [UInt8] {
        try file("\(layout)/blobs/sha256/\(digest.hex)")
    }
}

/// JSON without the space between its tokens.
func compact(_ json: [UInt8]) -> [UInt8] {
    var inString = false
    var previous: UInt8 = 0
    return json.filter { byte in
        if byte == UInt8(ascii: "\""), previous != UInt8(ascii: "\\") { inString.toggle() }
        previous = byte
        return inString || ![0x20, 0x0A, 0x0D, 0x09].contains(byte)
    }
}

func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
