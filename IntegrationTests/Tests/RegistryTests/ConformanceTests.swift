@testable import BuildCacheBytes
@testable import BuildCacheCore
@testable import BuildCacheGraph
@testable import BuildCacheRegistry
@testable import BuildCacheSpec
@testable import BuildCacheTesting
@testable import BuildCacheClient
@testable import TestServers
@testable import TestTools
import Testing

@Suite("A cache in a registry")
struct ConformanceTests {
    @Test(
        "keeps a promise at docker-registry: it",
        .enabled(if: Tool.dockerRegistry.isInstalled, "docker-registry is not installed"),
        arguments: BackendConformance.checks, ManifestLayout.allCases)
    func atDockerRegistry(_ check: BackendConformance.Check, _ layout: ManifestLayout) async throws {
        try await DockerRegistry.run { address in
            try await RegistryClient.forTests { try await check.run(at: address, layout: layout, $0) }
        }
    }

    @Test(
        "keeps a promise at docker-registry with a password: it",
        .enabled(
            if: Tool.dockerRegistry.isInstalled && Tool.htpasswd.isInstalled,
            "docker-registry or htpasswd is not installed"),
        arguments: BackendConformance.checks)
    func withPassword(_ check: BackendConformance.Check) async throws {
        let line = try await Tool.htpasswd.output("-nbB", LoginGate.user, LoginGate.password)
        try await withTemporaryFile(line) { file in
            try await DockerRegistry.run(settings: "auth: {htpasswd: {realm: test, path: \(file)}}") { address in
                try await RegistryClient.forTests(credentials: .right) { try await check.run(at: address, $0) }
            }
        }
    }

    @Test(
        "keeps a promise at docker-registry behind a token server, though tokens end in the middle of a push: it",
        .enabled(if: Tool.dockerRegistry.isInstalled, "docker-registry is not installed"),
        arguments: BackendConformance.checks)
    func withTokens(_ check: BackendConformance.Check) async throws {
        try await DockerRegistry.run { inner in
            // Tokens last for a minute, which is over after ten requests.
            let gate = LoginGate(.token(takesPost: true), pace: 6, Forwarder(to: inner).respond)
            try await check.run(behind: gate)
            #expect(gate.issued > 0)
        }
    }

    @Test(
        "merges and is pruned: it", arguments: BackendConformance.mergeChecks + BackendConformance.pruneChecks,
        [ManifestLayout.imageManifest, .ociIndex])
    func storing(_ check: BackendConformance.Check, _ layout: ManifestLayout) async throws {
        try await withServer(FakeRegistry().respond) { address in
            try await RegistryClient.forTests { try await check.run(at: address, layout: layout, $0) }
        }
    }

    @Test("keeps a promise at a registry that misbehaves: it", arguments: BackendConformance.checks, Misbehaviour.all)
    func atMisbehavingRegistry(_ check: BackendConformance.Check, _ misbehaviour: Misbehaviour) async throws {
        let registry = FakeRegistry(misbehaviour.manners)
        try await withServer(registry.respond) { address in
            try await RegistryClient.forTests(hosts: [
                address: RegistryHost(plainHTTP: true, profile: misbehaviour.profile)
            ]) {
                try await check.run(at: address, layout: .ociIndex, $0)
            }
        }
    }

    @Test(
        "keeps a promise at a registry with its storage elsewhere, which never sees a credential: it",
        arguments: BackendConformance.checks)
    func withStorageElsewhere(_ check: BackendConformance.Check) async throws {
        let registry = FakeRegistry()
        let gate = LoginGate(.token(takesPost: false), pace: 6, registry.respond)
        let storage = try await withServer(registry.respond) { storage in
            registry.manners.storageHost = storage
            try await check.run(behind: gate)
            return storage
        }
        let moved = registry.log.filter { $0.host == storage }
        #expect(moved.allSatisfy { $0.headers["authorization"] == nil })
    }
}

/// One way of a registry to behave badly.
struct Misbehaviour: Sendable, CustomTestStringConvertible {
    let testDescription: String
    var manners = FakeRegistry.Manners()
    var profile: RegistryProfile?

    init(_ description: String, profile: RegistryProfile? = nil, _ change: (inout FakeRegistry.Manners) -> Void) {
        testDescription = description
        self.profile = profile
        change(&manners)
    }

    static let all = [
        Misbehaviour("it writes relative locations") { $0.usesRelativeLocations = true },
        Misbehaviour("it knows no HEAD") { $0.knowsHead = false },
        Misbehaviour("it knows no ranges") { $0.knowsRanges = false },
        Misbehaviour("it wants to be left alone after every third request") {
            $0.fault = { number, _ in number % 3 == 0 ? .status(429, retryAfter: "0") : nil }
        },
        Misbehaviour("every fourth request is an internal error") {
            $0.fault = { number, _ in number % 4 == 0 ? .status(500) : nil }
        },
        Misbehaviour("every fifth request breaks off") {
            $0.fault = { number, _ in number % 5 == 0 ? .reset(after: 700) : nil }
        },
        Misbehaviour("every third answer ends early") {
            $0.fault = { number, _ in number % 3 == 0 ? .truncation(after: 300) : nil }
        },
    ]
}

extension BackendConformance.Check {
    /// Runs the check on caches of a registry where one has to log in.
    fileprivate func run(behind gate: LoginGate) async throws {
        try await withServer(gate.respond) { address in
            try await RegistryClient.forTests(credentials: .right) { try await run(at: address, $0) }
        }
    }

    /// Runs the check on caches of a registry.
    func run(
        at address: String, layout: ManifestLayout = .imageManifest, _ client: RegistryClient
    ) async throws {
        try await ScratchStore.withTemporary { scratch in
            try await run(
                BackendConformance { setup in
                    let options = RegistryOptions(ref: try Reference("\(address)/conformance:\(setup.cache)"))
                    var export = setup.export
                    export.layout = layout
                    let cache = RegistryCache(options, export: export, scratch: scratch, client: client)
                    return layout.usesDockerTypes ? OCITypes(base: cache) : cache
                })
        }
    }
}

/// A cache whose layers come back with OCI's media types, whichever they are stored with: a Docker manifest list knows only its own.
private struct OCITypes<Base: CacheBackend>: CacheBackend {
    let base: Base

    var traits: BackendTraits { base.traits }

    func exportCache(
        _ graph: LayerGraph, from source: LayerSource, progress: ProgressSink
    ) async throws -> ExportReceipt {
        try await base.exportCache(graph, from: source, progress: progress)
    }

    func importCache(progress: ProgressSink) async throws -> ImportedCache? {
        guard let cache = try await base.importCache(progress: progress) else { return nil }
        let parts = try cache.parts.map { part in
            let blobs = part.graph.descriptors.mapValues { descriptor in
                var descriptor = descriptor
                descriptor.mediaType = descriptor.mediaType.asLayer(docker: false)
                return descriptor
            }
            return ImportedCache.Part(manifest: part.manifest, graph: try part.graph.replacing(blobs: blobs))
        }
        return try ImportedCache(parts: parts, blobs: cache.blobs, problems: cache.problems)
    }
}
