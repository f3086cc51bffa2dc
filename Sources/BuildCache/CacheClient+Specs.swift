public import BuildCacheBytes
public import BuildCacheClient
public import BuildCacheCore
public import BuildCacheGraph
public import BuildCacheSigning
public import BuildCacheSpec

extension CacheClient {
    /// Makes a client of specs, as `--cache-from` and `--cache-to` give them.
    ///
    /// - Parameters:
    ///   - cacheFrom: Caches to read; the same one twice is read once.
    ///   - cacheTo: Caches to write.
    ///   - environment: The source of options that are not given; without `clients`, also of credentials, endpoints, proxies and
    ///     authorities. Default that of the process.
    ///   - leniency: Whether what has no meaning or no effect is an error, or passes as with BuildKit.
    ///   - scratch: Where layers are converted, once for all destinations.
    ///   - clients: Connections and credentials of the network backends; `nil`, the default, for those of `environment`. Clients of your own
    ///     that serve several builds share logins and tokens.
    ///   - limits: How much a cache config may hold, read or written.
    ///   - writePolicy: Whether the caches that are there are replaced or merged with.
    ///   - verification: The rules by which the signatures of all these caches are accepted; those of one alone are in
    ///     ``Source/verification``.
    ///   - signing: The signers of all destinations; `nil`, the default, signs nothing.
    ///   - onIgnored: Called for each fault that lenient parsing tolerated.
    /// - Throws: `CacheError` `.invalidSpec` for invalid specs, and for one destination twice; `.unsupported`.
    public init(
        cacheFrom: [String] = [], cacheTo: [String] = [], environment: Environment? = nil,
        leniency: CacheSpec.Leniency = .strict, scratch: ScratchStore, clients: BackendClients? = nil,
        limits: CacheConfigLimits = CacheConfigLimits(), writePolicy: WritePolicy = .replace,
        verification: VerificationPolicy = .off, signing: SigningPolicy? = nil,
        onIgnored: (CacheError) -> Void = { _ in }
    ) throws(CacheError) {
        let clients = clients ?? environment.map { BackendClients(environment: $0) } ?? .shared
        let environment = environment ?? .process
        func parse(_ texts: [String], _ direction: CacheSpec.Direction) throws(CacheError) -> [CacheSpec] {
            var specs: [CacheSpec] = []
            for text in texts {
                specs += try CacheSpec.parse(
                    text, for: direction, environment: environment, leniency: leniency, onIgnored: onIgnored)
            }
            return specs
        }
        let exports = try parse(cacheTo, .export)
        if leniency == .strict { try CacheSpec.validate(exports: exports) }
        try self.init(
            imports: try parse(cacheFrom, .import), validExports: exports, scratch: scratch, clients: clients,
            limits: limits, writePolicy: writePolicy, verification: verification, signing: signing)
    }

    /// Makes a client of specs that were parsed before or made in Swift.
    ///
    /// - Parameters:
    ///   - imports: Caches to read; the same one twice is read once.
    ///   - exports: Caches to write.
    ///   - scratch: Where layers are converted, once for all destinations.
    ///   - clients: Connections and credentials of the network backends.
    ///   - limits: How much a cache config may hold, read or written.
    ///   - writePolicy: Whether the caches that are there are replaced or merged with; `nil`, the default, leaves that to each export's
    ///     options.
    ///   - verification: The rules by which the signatures of all these caches are accepted.
    ///   - signing: The signers of all destinations; `nil`, the default, signs nothing.
    /// - Throws: `CacheError` `.invalidSpec` for invalid specs, and for one destination twice; `.unsupported`.
    public init(
        imports: [CacheSpec], exports: [CacheSpec], scratch: ScratchStore, clients: BackendClients = .shared,
        limits: CacheConfigLimits = CacheConfigLimits(), writePolicy: WritePolicy? = nil,
        verification: VerificationPolicy = .off, signing: SigningPolicy? = nil
    ) throws(CacheError) {
        try CacheSpec.validate(exports: exports)
        try self.init(
            imports: imports, validExports: exports, scratch: scratch, clients: clients, limits: limits,
            writePolicy: writePolicy, verification: verification, signing: signing)
    }

    private init(
        imports: [CacheSpec], validExports exports: [CacheSpec], scratch: ScratchStore, clients: BackendClients,
        limits: CacheConfigLimits, writePolicy: WritePolicy?, verification: VerificationPolicy, signing: SigningPolicy?
    ) throws(CacheError) {
        self.init()
        try verification.validate()
        for spec in CacheSpec.removingDuplicates(imports: imports) {
            let importer = try spec.makeImporter(scratch: scratch, clients: clients, limits: limits)
            sources.append(Source(name: spec.description, importer: importer, verification: verification))
        }
        for var spec in exports {
            if let writePolicy { spec.export?.writePolicy = writePolicy }
            let exporter = try spec.makeExporter(scratch: scratch, clients: clients, limits: limits)
            destinations.append(
                Destination(
                    name: spec.description, exporter: exporter, ignoresErrors: spec.export?.ignoreError ?? false,
                    trust: Self.trust(of: spec, verification, signing)))
        }
    }
    /// An inline cache goes with its image, whose signature covers it, so it is not signed by itself.
    private static func trust(
        of spec: CacheSpec, _ verification: VerificationPolicy, _ signing: SigningPolicy?
    ) -> CacheTrust {
        if case .inline = spec.backend { return CacheTrust() }
        return CacheTrust(signing: signing, verification: verification)
    }
}
