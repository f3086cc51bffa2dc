import BuildCacheClient
import BuildCacheCore
import BuildCacheOCI
import BuildCacheSigning

extension GitHubStore: SignatureStore {
    func signaturePlace(of name: String) -> String { places[name] ?? "gha:" + name }

    func signatures(of document: Descriptor) async throws -> SignatureFile {
        try await entries.signatures.newestSignatures(of: document.digest)?.file ?? SignatureFile()
    }

    /// Entries never change: each file that adds something is a new version, and readers take the newest.
    func addSignatures(_ bundles: [SignatureBundle], to document: RawDocument) async throws {
        let index = GitHubKeys.signature(document.digest)
        _ = try await entries.signatures.publish(
            index, limit: SignatureBundle.maximumBytes, mergesOthers: true
        ) { current, overlooked, _ in
            var file = SignatureFile(decoding: current ?? [])
            for other in overlooked { file = file.adding(SignatureFile(decoding: other).bundles) ?? file }
            // As it stands there if it has all of them, so that nothing is written.
            guard let merged = file.adding(bundles) else {
                return RawDocument(mediaType: "", bytes: current ?? file.bytes)
            }
            return RawDocument(mediaType: "", bytes: merged.bytes)
        }
    }
}

extension GitHubEntries {
    /// The entries in the namespace of signatures.
    var signatures: GitHubEntries {
        var requests = requests
        requests.version = GitHubKeys.signatureVersion
        var service = service
        service.requests.version = GitHubKeys.signatureVersion
        return GitHubEntries(requests: requests, service: service, budget: budget, pauses: pauses, grace: grace)
    }

    /// The newest signature file of a document.
    fileprivate func newestSignatures(of document: Digest) async throws -> (number: Int, file: SignatureFile)? {
        guard let newest = try await newest(GitHubKeys.signature(document)) else { return nil }
        do {
            let bytes = try await read(newest.entry, limit: SignatureBundle.maximumBytes)
            return bytes.map { (newest.number, SignatureFile(decoding: $0)) }
        } catch let error as CacheError where error.code == .limitExceeded {
            return (newest.number, SignatureFile(decoding: StoredSignatureFile.tooLarge.bytes))
        }
    }
}
