import BuildCacheCore
import TestTools
import Testing

@testable import BuildCacheKeys

@Suite("A key of an operation")
struct OperationKeysTests {
    @Test("is hashed from BuildKit's JSON, with its selectors and what is hashed of each input")
    func operations() throws {
        var count = 0
        for file in ["exec-ops", "file-ops", "other-ops"] {
            for vector in try Vectors.all(file) {
                count += 1
                let name = vector["name"].string ?? ""
                let op = try Self.operation(vector)
                let json = try OperationKeys.json(of: op, defaultPlatform: .host)
                #expect(String(decoding: json, as: UTF8.self) == vector["expected"]["json"].string, "\(name)")
                let keys = try OperationKeys(of: op)
                #expect(keys.digest == vector["expected"]["digest"].digest, "\(name)")
                let deps = vector["expected"]["deps"].array
                #expect(keys.inputs.map(\.selector) == deps.map(\.["selector"].digest), "\(name)")
                let contents = deps.map { $0["content"].isNull ? nil : $0["content"].array.map(\.selector) }
                #expect(keys.inputs.map(\.content) == contents, "\(name)")
            }
        }
        #expect(count == 65)
    }

    private static func operation(_ vector: JSONValue) throws -> LLB.Op {
        let inputs = (0..<Int(vector["inputs"].number ?? 0)).map { LLB.Output(Digest(of: "\($0)".utf8)) }
        let kind: LLB.Op.Kind? =
            if !vector["exec"].isNull {
                .exec(try vector["exec"].message())
            } else if !vector["file"].isNull {
                .file(try vector["file"].message())
            } else if !vector["merge"].isNull {
                .merge(try vector["merge"].message())
            } else if !vector["diff"].isNull {
                .diff(try vector["diff"].message())
            } else if !vector["passthrough"].isNull {
                .passthrough(try vector["passthrough"].message())
            } else if !vector["build"].isNull {
                .build(try vector["build"].message())
            } else {
                nil
            }
        return LLB.Op(kind, inputs: inputs, platform: vector["platform"].isNull ? nil : vector["platform"].platform)
    }

    @Test("writes strings as Go does")
    func strings() throws {
        for vector in try Vectors.all("json-strings") {
            var writer = JSONWriter()
            writer.string(vector["value"].string ?? "")
            #expect(String(decoding: writer.bytes, as: UTF8.self) == vector["text"].string)
        }
    }

    @Test("joins the paths of a selector as BuildKit does")
    func selectors() throws {
        for vector in try Vectors.all("selectors") {
            let paths = vector["paths"].strings.map { Array($0.utf8) }
            let isFile = vector["op"].string == "file"
            let sorted = isFile ? paths.sorted { $1.precedes($0) } : paths
            #expect(OperationKeys.selector(of: sorted) == vector["selector"].digest)
        }
    }

    @Test("becomes the digest of a record for each output")
    func records() throws {
        for vector in try Vectors.all("record-digests") {
            guard let digest = vector["digest"].digest, let output = vector["output"].number else { continue }
            #expect(Digest.record(operation: digest, output: Int(output)) == vector["record"].digest)
        }
    }

    @Test("is refused for a mount of an input that does not exist")
    func missingInput() throws {
        var exec = LLB.ExecOp()
        exec.mounts = [LLB.Mount(input: 3, at: "/m")]
        let error = #expect(throws: CacheError.self) { try OperationKeys(of: LLB.Op(.exec(exec))) }
        #expect(error?.code == .corrupted)
    }
}

@Suite("A key of a source")
struct SourceKeysTests {
    @Test("is that of BuildKit for every kind of source")
    func sources() throws {
        var count = 0
        for vector in try Vectors.all("sources") where vector["local"].isNull {
            count += 1
            let name = vector["name"].string ?? ""
            let keys = try Self.keys(vector)
            #expect(keys.digests.contains { $0 == vector["digest"].digest }, "\(name)")
            #expect(keys.records.contains { $0 == vector["record"].digest }, "\(name)")
        }
        #expect(count == 16)
        #expect(SourceKeys.local.digests == [])
    }

    private static func keys(_ vector: JSONValue) throws -> SourceKeys {
        if !vector["git"].isNull {
            var git = SourceKeys.Git(commit: vector["git"]["commit"].string ?? "")
            git.ref = vector["git"]["ref"].string ?? ""
            git.keepsDirectory = vector["git"]["keepGitDir"].bool
            git.directory = vector["git"]["subdir"].string ?? ""
            git.skipsSubmodules = vector["git"]["skipSubmodules"].bool
            git.times = vector["git"]["mtime"].string ?? ""
            git.isBundle = vector["git"]["checkoutBundle"].bool
            return SourceKeys(git: git)
        }
        if !vector["http"].isNull {
            let http = vector["http"]
            var file = SourceKeys.HTTP(
                checksum: try #require(http["checksum"].digest), filename: http["filename"].string ?? "")
            file.permissions = http["perm"].number ?? 0
            file.uid = http["uid"].number ?? 0
            file.gid = http["gid"].number ?? 0
            file.lastModified = http["lastModified"].string ?? ""
            file.authorizationSecret = http["authHeaderSecret"].string ?? ""
            for field in http["headers"].array.map(\.strings) {
                if field[0] == "Accept" { file.accept = field[1] } else { file.userAgent = field[1] }
            }
            return SourceKeys(http: file)
        }
        if !vector["blob"].isNull {
            return SourceKeys(
                blob: try #require(vector["blob"]["digest"].digest), filename: vector["blob"]["filename"].string ?? "",
                permissions: vector["blob"]["perm"].number ?? 0)
        }
        let limit = vector["layerLimit"].number.map { Int($0) }
        let diffIDs = vector["diffIDs"].array.compactMap(\.digest).map { DiffID($0) }
        let digest = vector["manifestDigest"].digest ?? Digest(of: [])
        return SourceKeys(image: digest, diffIDs: diffIDs, platform: vector["platform"].platform, layerLimit: limit)
    }
}
