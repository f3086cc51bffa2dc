import BuildCacheClient
import BuildCacheCore
import BuildCacheSigning

extension S3Store: SignatureFileStore {
    func signaturePlace(of name: String) -> String {
        "s3:\(bucket.options.bucket)/" + bucket.keys.manifest(name)
    }

    func signatureFile(of document: Digest) async throws -> StoredSignatureFile? {
        let key = try signatureKey(of: document)
        return try await bucket.reporting("read", key) {
            do {
                return try await bucket.taggedObject(key, limit: SignatureBundle.maximumBytes).map {
                    StoredSignatureFile(bytes: $0.bytes, version: $0.etag ?? "")
                }
            } catch let failure as S3Failure where failure.error.code == .limitExceeded {
                return .tooLarge
            } catch let error as CacheError where error.code == .limitExceeded {
                return .tooLarge
            }
        }
    }

    /// A service that ignores conditions keeps the signatures of the last writer alone.
    func replaceSignatureFile(
        _ current: StoredSignatureFile?, of document: Digest, with bytes: [UInt8]
    ) async throws -> Bool {
        let key = try signatureKey(of: document)
        return try await bucket.reporting("sign", key) {
            let condition: (name: String, value: String)? =
                if let current { current.version.isEmpty ? nil : ("If-Match", current.version) } else {
                    ("If-None-Match", "*")
                }
            do {
                try await bucket.putObject(key, bytes, if: condition)
                return true
            } catch let failure as S3Failure where failure.isOvertaken {
                return false
            }
        }
    }

    /// - Throws: `CacheError` `.invalidSpec` if the name of a layer or a config could be the same.
    private func signatureKey(of document: Digest) throws(CacheError) -> String {
        guard bucket.keys.signatureListing != nil else { throw .signaturesPrefix }
        return bucket.keys.signature(document)
    }
}

extension CacheError {
    fileprivate static let signaturesPrefix = CacheError(
        .invalidSpec,
        "blobs_prefix or manifests_prefix begins as \"signatures/\" does, where signatures are kept; choose another prefix"
    )
}
