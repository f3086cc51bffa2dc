import BuildCacheBytes
public import BuildCacheClient
public import BuildCacheCore
public import BuildCacheSigning

/// Runs a build with caches: loads those of `from` while it begins, exports to those of `to` when it has succeeded.
///
/// ```swift
/// try await withSession(from: ["type=local,src=cache"], to: ["type=local,dest=cache,mode=max"]) { session in
///     let step = try await session.step("make all", inputs: [.content(digest)]) { [.tar(at: "out.tar")] }
///     print(step.isCached ? "CACHED" : "RAN", step.duration)
/// }
/// ```
///
/// Layers are fetched to, and converted in, a temporary directory that is removed at the end. A program that keeps them, or runs several
/// builds, uses ``CacheClient`` and a ``ScratchStore`` of its own.
///
/// - Parameters:
///   - from: Caches to read, as `--cache-from` names them.
///   - to: Caches to write, as `--cache-to` names them.
///   - environment: The source of options that are not given, credentials, endpoints, proxies and authorities; `nil`, the default, for the
///     process's own.
///   - writePolicy: Whether the caches that are there are replaced or merged with.
///   - verification: The rules by which the signatures of these caches are accepted.
///   - signing: The signers of the caches to write; `nil`, the default, signs nothing.
///   - options: The options of the session.
///   - body: The build.
/// - Returns: The value of `body`.
/// - Throws: `CacheError` `.invalidSpec` for invalid specs; what `body` throws; the error of a cache that was not written.
public func withSession<Value>(
    from: [String] = [], to: [String] = [], environment: Environment? = nil, writePolicy: WritePolicy = .replace,
    verification: VerificationPolicy = .off, signing: SigningPolicy? = nil,
    options: CacheSession.Options = CacheSession.Options(), _ body: (CacheSession) async throws -> Value
) async throws -> Value {
    try await ScratchStore.withTemporary { scratch in
        let client = try CacheClient(
            cacheFrom: from, cacheTo: to, environment: environment, scratch: scratch, writePolicy: writePolicy,
            verification: verification, signing: signing)
        return try await client.withSession(store: scratch, options: options, body)
    }
}
