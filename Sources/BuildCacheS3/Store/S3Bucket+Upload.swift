import BuildCacheBytes
import BuildCacheCore
import BuildCacheHTTP
import NIOCore
import NIOHTTP1

extension S3Bucket {
    /// Parts of one layer that are under way at once.
    static let partsInFlight = 5

    /// Sends a layer that is not there, or not whole.
    ///
    /// Its bytes are verified on their way: the last ones leave only when all have proved right.
    func upload(
        _ descriptor: Descriptor, from source: any BlobSource, replacing: Bool
    ) async throws -> PutOutcome {
        try await reporting("upload", "\(descriptor.digest)") {
            let outcome =
                descriptor.size <= client.parts.threshold
                ? try await uploadWhole(descriptor, from: source, replacing: replacing)
                : try await uploadInParts(descriptor, from: source)
            forgetDamage(descriptor.digest)
            return outcome
        }
    }

    private func uploadWhole(
        _ descriptor: Descriptor, from source: any BlobSource, replacing: Bool
    ) async throws -> PutOutcome {
        var request = S3Request(.PUT, keys.blob(descriptor.digest), permission: "s3:PutObject")
        // Opened before the connection, which would grow old while a slow source gets ready.
        let first = FirstStream(try await source.open(descriptor, range: nil))
        request.body = .stream(length: descriptor.size) {
            let stream = if let stream = first.take() { stream } else { try await source.open(descriptor, range: nil) }
            return stream.verified(as: descriptor)
        }
        // What a layer is called is what the service wants to be told anyway.
        request.payloadHash = descriptor.digest.hex
        if !replacing, service.vendor.createsOnlyIfAbsent { request.headers.append(("If-None-Match", "*")) }
        do {
            await (try await send(request)).discard()
            return .written
        } catch let failure as S3Failure where failure.status == 412 && !replacing {
            // Somebody was faster, perhaps an earlier try of ours whose answer got lost. Or one that broke off: SeaweedFS keeps an
            // empty object of it.
            if try await stat(descriptor.digest)?.size == descriptor.size { return .alreadyPresent }
            return try await uploadWhole(descriptor, from: source, replacing: true)
        }
    }

    private func uploadInParts(_ descriptor: Descriptor, from source: any BlobSource) async throws -> PutOutcome {
        let retries = transport.retries()
        while true {
            do {
                // A slow source must not find an upload that has been given up meanwhile.
                let stream = try await source.open(descriptor, range: nil).verified(as: descriptor)
                let upload = try await MultipartUpload.begin(keys.blob(descriptor.digest), in: self)
                try await upload.finishing { try await upload.send(stream, size: descriptor.size) }
                return .written
            } catch let failure as S3Failure where failure.code == "NoSuchUpload" {
                // Another writer may have finished the same layer and cleaned up, or we did and the answer got lost.
                if try await stat(descriptor.digest)?.size == descriptor.size { return .alreadyPresent }
                var error = failure.error
                error.retry = .worthwhile
                try await retries.pause(after: error)
            }
        }
    }
}
