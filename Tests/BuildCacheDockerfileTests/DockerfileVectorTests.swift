import BuildCacheCore
import BuildCacheKeys
import TestTools
import Testing

@testable import BuildCacheDockerfile

@Suite("A Dockerfile")
struct DockerfileVectorTests {
    @Test("becomes the operations that BuildKit's front end makes of it, byte for byte")
    func operations() async throws {
        let vectors = try FixtureArchive.document("cache-keys/dockerfiles.json")["vectors"].array
        for vector in vectors {
            let name = "\(vector["name"].string ?? "") \(vector["platform"].string ?? "")"
            let operations = vector["ops"].array
            var options = DockerfileOptions()
            options.platform = try LLB.Platform(vector["platform"].string ?? "")
            options.buildPlatform = try LLB.Platform(vector["buildPlatform"].string ?? "")
            options.buildArguments = vector["buildArgs"].object.mapValues { $0.string ?? "" }
            options.contextID = operations.lazy.compactMap { $0["attrs"]["local.unique"].string }.first ?? ""
            let build = try await Dockerfile((vector["dockerfile"].string ?? "").utf8).build(options)
            let vertices = build.definition.vertices
            #expect(vertices.count == operations.count, "\(name)")
            for (index, (vertex, expected)) in zip(vertices, operations).enumerated() {
                #expect(vertex.bytes == expected["op"].base64, "\(name), operation \(index)")
                #expect(vertex.digest.description == expected["digest"].string, "\(name), operation \(index)")
                guard let digest = expected["cacheDigest"].string else { continue }
                let keys = try OperationKeys(of: vertex.op)
                #expect(keys.digest.description == digest, "\(name), operation \(index)")
                let selectors = expected["selectors"].strings
                #expect(keys.inputs.map { $0.selector?.description ?? "" } == selectors, "\(name), operation \(index)")
            }
        }
        #expect(vectors.count == 16)
    }

    @Test("is read again from the definition that it became")
    func roundTrip() async throws {
        for vector in try FixtureArchive.document("cache-keys/dockerfiles.json")["vectors"].array {
            let build = try await Dockerfile((vector["dockerfile"].string ?? "").utf8).build()
            let bytes = build.definition.encoded()
            let decoded = try LLB.Definition(decoding: bytes)
            #expect(decoded.encoded() == bytes)
            #expect(decoded.result == build.definition.result)
            // From the messages alone, not from the bytes that were kept.
            for vertex in decoded.vertices { #expect(vertex.op.encoded() == vertex.bytes) }
        }
    }
}
