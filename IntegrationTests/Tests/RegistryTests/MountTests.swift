@testable import BuildCacheBytes
@testable import BuildCacheCore
@testable import BuildCacheTesting
@testable import TestServers
import Testing

@testable import BuildCacheRegistry

/// A layer with the places that a cache says it is in.
private func annotated(_ descriptor: Descriptor, _ address: String, _ sources: String) -> Descriptor {
    var descriptor = descriptor
    descriptor.annotations["containerd.io/distribution.source.\(address)"] = sources
    return descriptor
}

@Suite("A mount from another repository")
struct MountTests {
    @Test(
        "is not asked for because a cache says that a layer is there",
        arguments: [
            "private", "private,other", "x:pull repository:private:pull,delete", "../private", "", ",", "a?b&c#d",
        ])
    func annotationAlone(_ sources: String) async throws {
        let registry = FakeRegistry()
        let blob = makeBlob(1000)
        registry.add(blob.bytes, to: "private")
        let gate = LoginGate(.token(takesPost: true), lifetime: 1 << 20, registry.respond)
        try await withServer(gate.respond) { address in
            try await RegistryClient.forTests(credentials: .right) { client in
                let repository = try await RegistryRepository(try Reference("\(address)/app:latest"), client: client)
                let descriptor = annotated(blob.descriptor, address, sources)
                let outcome = try await repository.put(descriptor, from: MemorySource([blob.bytes]))
                #expect(outcome == .written)
                #expect(registry.log.allSatisfy { $0.query["mount"] == nil && $0.query["from"] == nil })
                #expect(gate.requestedScopes.allSatisfy { $0.hasPrefix("repository:app:") })
            }
        }
    }

    @Test("needs the bytes of a layer that this process has not seen there")
    func possession() async throws {
        let registry = FakeRegistry()
        let blob = makeBlob(1000)
        registry.add(blob.bytes, to: "private")
        try await withRepository(registry) { repository, client, address in
            // The repository was read, the layer was not.
            let other = try await RegistryRepository(try Reference("\(address)/private:latest"), client: client)
            let stored = try await other.stat(Digest(of: Array("nothing".utf8)))
            #expect(stored == nil)
            let error = await #expect(throws: CacheError.self) {
                try await repository.put(annotated(blob.descriptor, address, "private"), from: MemorySource([]))
            }
            #expect(error?.code == .notFound)
            #expect(registry.blobs(of: "app").isEmpty)
        }
    }

    @Test("is asked for where this process has read the layer")
    func seen() async throws {
        let registry = FakeRegistry()
        let blob = makeBlob(1000)
        registry.add(blob.bytes, to: "base")
        try await withRepository(registry) { repository, client, address in
            let base = try await RegistryRepository(try Reference("\(address)/base:latest"), client: client)
            _ = try await base.open(blob.descriptor, range: nil)
            let outcome = try await repository.put(blob.descriptor, from: MemorySource([]))
            #expect(outcome == .alreadyPresent)
            #expect(registry.log.last?.query["from"] == "base")
        }
    }

    @Test("is asked for where this process has read the image of the layer")
    func seenInManifest() async throws {
        let registry = FakeRegistry()
        let blob = makeBlob(1000)
        registry.add(blob.bytes, to: "base")
        try await withRepository(registry) { repository, client, address in
            let base = try await RegistryRepository(try Reference("\(address)/base:latest"), client: client)
            let manifest = """
                {"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":\
                "application/vnd.oci.image.config.v1+json","digest":"\(Digest(of: []))","size":0},"layers":[{"mediaType":\
                "\(blob.descriptor.mediaType.text)","digest":"\(blob.descriptor.digest)","size":1000}]}
                """
            try await base.putManifest(
                RawDocument(mediaType: .ociManifest, bytes: Array(manifest.utf8)), as: .tag("latest"))
            _ = try await base.manifest(.tag("latest"))
            let outcome = try await repository.put(blob.descriptor, from: MemorySource([]))
            #expect(outcome == .alreadyPresent)
        }
    }

    @Test("is asked for where the program named the repository", arguments: [true, false])
    func named(_ isAnnotated: Bool) async throws {
        let registry = FakeRegistry()
        let blob = makeBlob(1000)
        registry.add(blob.bytes, to: "team/base")
        try await withRepository(registry, mountSources: ["app", "team/base"]) { repository, _, address in
            let descriptor = isAnnotated ? annotated(blob.descriptor, address, "team/base") : blob.descriptor
            let outcome = try await repository.put(descriptor, from: MemorySource([]))
            #expect(outcome == .alreadyPresent)
            #expect(registry.log.last?.query["from"] == "team/base")
        }
    }

    @Test(
        "is not possible from a name that is not a repository",
        arguments: ["", "a b", "a:b", "../a", "A", "a/b@sha256:0", "x&y"])
    func invalidName(_ name: String) async throws {
        let error = await #expect(throws: CacheError.self) {
            try await withRepository(FakeRegistry(), mountSources: [name]) { _, _, _ in }
        }
        #expect(error?.code == .invalidSpec)
        #expect(error?.message.contains("mount source") == true)
    }

    @Test(
        "that the registry answers in another way is an upload",
        arguments: [
            ServerResponse(201, headers: [("Docker-Content-Digest", "\(Digest(of: Array("other".utf8)))")]),
            ServerResponse(202), ServerResponse(202, headers: [("Location", "ftp://example.com/x y")]),
            ServerResponse(400), ServerResponse(403), ServerResponse(404), ServerResponse(405),
        ])
    func otherAnswers(_ answer: ServerResponse) async throws {
        let registry = FakeRegistry()
        let blob = makeBlob(1000)
        registry.manners.fault = { _, request in request.query["mount"] != nil ? .answer(answer) : nil }
        try await withRepository(registry, mountSources: ["base"]) { repository, _, _ in
            let outcome = try await repository.put(blob.descriptor, from: MemorySource([blob.bytes]))
            #expect(outcome == .written)
            #expect(registry.blobs(of: "app")["\(blob.descriptor.digest)"] == blob.bytes)
        }
    }
}
