import BuildCacheCore
import BuildCacheHTTP
import NIOHTTP1

extension S3Bucket {
    /// Makes sure that the service honours conditions on writes: one that ignores them would lose what others write.
    ///
    /// A service that nobody knows is asked to replace an object that is not there, which must fail.
    func requireSwaps(_ key: String) async throws {
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

    static var cannotSwap: CacheError {
        CacheError(
            .unsupported,
            "the service has no conditional writes, so parallel exports to one name cannot be merged without loss; "
                + "use WritePolicy.replace with a name for each job")
    }
}
