import BuildCacheClient
import BuildCacheCore
import BuildCacheHTTP
import BuildCacheSigning

extension AzureStore: SignatureFileStore {
    func signaturePlace(of name: String) -> String {
        "azblob:\(container.accountName)/\(container.container)/\(container.names.manifest(name))"
    }

    func signatureFile(of document: Digest) async throws -> StoredSignatureFile? {
        do {
            return try await signatureBlob(of: document)
                .document(limit: SignatureBundle.maximumBytes, retries: retries)
                .map { StoredSignatureFile(bytes: $0.bytes, version: $0.etag ?? "") }
        } catch let error as CacheError where error.code == .limitExceeded {
            return .tooLarge
        }
    }

    func replaceSignatureFile(
        _ current: StoredSignatureFile?, of document: Digest, with bytes: [UInt8]
    ) async throws -> Bool {
        let blob = try signatureBlob(of: document)
        let condition: BlockBlob.Condition =
            if let current { current.version.isEmpty ? .none : .unchanged(etag: current.version) } else { .absent }
        let written = try await container.makingContainer {
            try await blob.put(bytes, condition, retries: retries)
        }
        return written == .written
    }

    /// - Throws: `CacheError` `.invalidSpec` if the name of a layer or a config could be the same.
    private func signatureBlob(of document: Digest) throws(CacheError) -> BlockBlob {
        guard container.names.signatureListing != nil else {
            throw CacheError(
                .invalidSpec,
                "blobs_prefix or manifests_prefix begins as \"signatures/\" does, where signatures are kept; choose another prefix"
            )
        }
        return try container.blob(named: container.names.signature(document))
    }
}
