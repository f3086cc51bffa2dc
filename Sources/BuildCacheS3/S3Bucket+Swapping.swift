import BuildCacheCore
import BuildCacheHTTP
import BuildCacheOCI
import BuildCacheTransfer
import NIOHTTP1

extension S3Bucket {
    /// Replaces a small object by what `make` makes of it, unless somebody else replaces it meanwhile: then again.
    ///
    /// - Returns: What is there now.
    /// - Throws: `CacheError` `.unsupported` if the service has no conditional writes.
    func swapObject(
        _ key: String, limit: Int, _ make: (_ current: [UInt8]?) throws -> RawDocument
    ) async throws -> RawDocument {
        try await requireSwaps(key)
        return try await SwapLoop(clock: transport.clock).run(key) {
            let old = try await replaceable(key, limit: limit)
            let made = try make(old?.bytes)
            if made.bytes == old?.bytes { return made }
            guard old == nil || old?.etag != nil else { throw S3Bucket.cannotSwap }
            do {
                try await putObject(
                    key, made.bytes, if: old?.etag.map { (name: "If-Match", value: $0) } ?? ("If-None-Match", "*"))
                return made
            } catch let failure as S3Failure where failure.isOvertaken {
                return nil
            }
        }
    }

    /// A small object and the tag of its version, without bytes if it is archived: then it has nothing to merge.
    private func replaceable(_ key: String, limit: Int) async throws -> (bytes: [UInt8], etag: String?)? {
        do { return try await taggedObject(key, limit: limit) } catch let failure as S3Failure
            where failure.archived != nil
        {
            return try await head(key).map { ([], $0.etag) }
        }
    }

    /// Makes sure that the service honours conditions on writes: one that ignores them would lose what others write.
    ///
    /// A service that nobody knows is asked to replace an object that is not there, which must fail.
    private func requireSwaps(_ key: String) async throws {
        guard service.swaps == nil else {
            if service.swaps == false { throw S3Bucket.cannotSwap }
            return
        }
        let probe = "\(key).probe-\(UInt64.random(in: .min ... .max))"
        do {
            try await putObject(probe, [], if: ("If-Match", #""00000000000000000000000000000000""#))
            await (try await send(S3Request(.DELETE, probe, permission: "s3:DeleteObject"))).discard()
            service.swaps = false
        } catch let failure as S3Failure where failure.isOvertaken {
            service.swaps = true
        } catch let failure as S3Failure where failure.status == 501 {
            service.swaps = false
        }
        if service.swaps == false { throw S3Bucket.cannotSwap }
    }

    private static var cannotSwap: CacheError {
        CacheError(
            .unsupported,
            "the service has no conditional writes, so parallel exports to one name cannot be merged without loss; "
                + "use WritePolicy.replace with a name for each job")
    }
}
