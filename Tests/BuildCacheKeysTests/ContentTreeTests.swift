import BuildCacheCore
import Foundation
import TestTools
import Testing

@testable import BuildCacheKeys

@Suite("A digest of content")
struct ContentTreeTests {
    @Test("is that of BuildKit for every tree and selector")
    func queries() throws {
        let document = try Vectors.document("content")
        let trees = document["trees"].object
        var made: [String: ContentTree] = [:]
        var count = 0
        for vector in document["vectors"].array {
            count += 1
            let (name, origin) = (vector["tree"].string ?? "", vector["origin"].string ?? "")
            let key = "\(name) \(origin)"
            if made[key] == nil {
                made[key] = try trees[name]?.tree(origin == "local" ? .localContext : .layers)
            }
            let tree = try #require(made[key])
            let selector = vector["selector"].isNull ? vector.selector : vector["selector"].selector
            if vector["error"].bool {
                #expect(throws: CacheError.self, "\(vector)") { try tree.digest(of: selector) }
                continue
            }
            let digest = try tree.digest(of: selector)
            #expect(digest == vector["digest"].digest, "\(key) \(vector)")
            let content = try tree.contentKey(of: [selector])
            #expect(content == vector["contentKey"].digest)
            #expect(Digest.record(content: content) == vector["record"].digest)
        }
        #expect(count == 162)
    }

    @Test("is that of each version of BuildKit")
    func epochs() throws {
        let trees = try Vectors.document("content")["trees"].object
        let names: [KeyEpoch: String] = [.upTo24: "upTo0.24", .only25: "0.25", .from26: "from0.26"]
        var count = 0
        for vector in try Vectors.all("content-epochs") {
            let tree = try #require(try trees[vector["tree"].string ?? ""]?.tree(.layers))
            for (epoch, name) in names {
                count += 1
                let digest = try? tree.digest(of: vector.selector, epoch: epoch)
                #expect(digest == vector[name].digest, "\(epoch) \(vector)")
            }
        }
        #expect(count == 150)
    }

    @Test("begins with BuildKit's header of a file")
    func headers() throws {
        let trees = try Vectors.document("content")["trees"].object
        for vector in try Vectors.all("content-headers") {
            let isLocal = vector["origin"].string == "local"
            let file = try #require(
                trees[vector["tree"].string ?? ""]?.array.first {
                    $0["path"].string == vector["path"].string && $0["pathBase64"].string == vector["pathBase64"].string
                })
            var builder = ContentTreeBuilder(isLocal ? .localContext : .layers)
            try builder.add(file)
            let node = try #require(builder.nodes.last)
            #expect(node.digest == vector["digest"].digest, "\(vector)")
        }
    }

    @Test("of a stack of layers is that of the unpacked tree")
    func layers() async throws {
        let document = try Vectors.document("layers")
        var builder = ContentTreeBuilder()
        for (index, layer) in document["layers"].array.enumerated() {
            let tar = try await Tool.gzip.output("-dc", input: try #require(layer.base64))
            #expect(DiffID(Digest(of: tar)).description == document["diffIDs"].strings[index])
            // In small pieces, so that headers and data are split everywhere.
            let chunks = AsyncStream { continuation in
                for start in stride(from: 0, to: tar.count, by: 100) {
                    continuation.yield(Array(tar[start..<min(start + 100, tar.count)]))
                }
                continuation.finish()
            }
            try await builder.addLayer(tar: chunks)
        }
        let tree = builder.finish()
        let expected = try document["tree"].tree(.layers)
        #expect(try tree.digest(of: .everything) == expected.digest(of: .everything))
        for vector in document["vectors"].array {
            #expect(try tree.digest(of: vector.selector) == vector["digest"].digest, "\(vector)")
            #expect(try tree.contentKey(of: [vector.selector]) == vector["contentKey"].digest, "\(vector)")
        }
        let diffIDs = try document["diffIDs"].strings.map { try DiffID($0) }
        #expect(SourceKeys.chainID(diffIDs)?.description == document["chainID"].string)
    }

    @Test("says with another which files differ")
    func differences() throws {
        func tree(_ files: [String: String]) throws -> ContentTree {
            var builder = ContentTreeBuilder()
            for (path, text) in files { try builder.add(Array(path.utf8), FileMetadata(), data: Array(text.utf8)) }
            return builder.finish()
        }
        let old = try tree(["a": "1", "d/x": "1", "d/y": "1", "gone/z": "1", "same/s": "1"])
        var new = try tree(["a": "1", "d/x": "2", "d/y": "1", "new": "1", "same/s": "1"])
        func text(_ differences: [ContentTree.Difference]) -> [String] {
            differences.map { "\($0.kind) \(String(decoding: $0.path, as: UTF8.self))" }
        }
        #expect(try text(new.differences(from: old)) == ["changed d/x", "removed gone", "added new"])
        #expect(try text(new.differences(from: old, limit: 1)) == ["changed d/x"])
        #expect(try text(old.differences(from: old)) == [])
        new = try tree(["c/x": "2"])
        #expect(
            try text(new.differences(from: old, at: Array("d".utf8), and: Array("/c".utf8))) == [
                "changed x", "removed y",
            ])
        #expect(throws: CacheError.self) { try new.differences(from: old, at: Array("nowhere".utf8)) }
    }

    @Test("of a result without files is that of nothing")
    func absent() throws {
        #expect(try ContentTree.absent.digest(of: .everything) == Digest(of: []))
        #expect(throws: CacheError.self) { try ContentTree.absent.digest(of: ContentSelector("/a")) }
    }
}

@Suite("A pattern")
struct PatternTests {
    @Test("matches what BuildKit's matchers match")
    func patterns() throws {
        var count = 0
        for vector in try Vectors.all("patterns") {
            count += 1
            let name = Array((vector["name"].string ?? "").utf8)
            if vector["kind"].string == "path" {
                let pattern = Array((vector["pattern"].string ?? "").utf8)
                if vector["error"].bool {
                    #expect(throws: CacheError.self, "\(vector)") { try WildcardPattern(pattern) }
                } else {
                    #expect(try WildcardPattern(pattern).matches(name) == vector["match"].bool, "\(vector)")
                }
            } else if vector["error"].bool {
                #expect(throws: CacheError.self, "\(vector)") { try PatternList(vector["patterns"].strings) }
            } else {
                #expect(try PatternList(vector["patterns"].strings).matches(name) == vector["match"].bool, "\(vector)")
            }
        }
        #expect(count == 61)
    }

    @Test(
        "that BuildKit's regular expressions read in a way of their own is refused",
        arguments: ["a\\d*", "a^b*", "x[*]", "[[:alpha:]]*", "[b-a]"])
    func unreadable(_ pattern: String) {
        let error = #expect(throws: CacheError.self) { try PatternList([pattern]) }
        #expect(error?.code == .unsupported)
    }

    @Test("takes no more time than its length times that of the name")
    func repeatedStars() throws {
        let pattern = try PatternList([String(repeating: "**/a*", count: 200)])
        // Too few for the pattern, by one.
        let name = Array(String(repeating: "a/", count: 199).utf8)
        #expect(!pattern.matches(name + Array("b".utf8)))
        #expect(pattern.matches(name + Array("a".utf8)))
    }

    @Test("of an ignore file loses comments, space and the leading slash")
    func ignoreFile() throws {
        let list = try PatternList(ignoreFile: Array("\u{FEFF}# c\n /a/ \n\n!  ./a/b\n*.log\r\n".utf8))
        #expect(list.matches(Array("a/c".utf8)))
        #expect(!list.matches(Array("a/b".utf8)))
        #expect(list.matches(Array("x.log".utf8)))
        #expect(!list.matches(Array("x/x.log".utf8)))
    }
}
