import BuildCacheClient
import BuildCacheCore
import BuildCacheOCI
import BuildCacheSigning
import Synchronization

extension GitHubStore: BuildKitFormStore {
    func useBuildKitForm() { isBuildKitForm.withLock { $0 = true } }

    func signaturePlace(of name: String) -> String {
        let suffix = GitHubKeys.signatureSuffix
        let index = name.hasSuffix(suffix) ? String(name.dropLast(suffix.count)) : name
        return places[index] ?? "gha:" + index
    }

    func signatures(of document: Descriptor) async throws -> SignatureFile {
        guard isBuildKitForm.withLock({ $0 }) else {
            return try await entries.signatures.newestSignatures(of: document.digest)?.file ?? SignatureFile()
        }
        let key = GitHubKeys.buildKitSignature(document.digest)
        do {
            let bytes = try await entries.read(key: key, limit: SignatureBundle.maximumBytes)
            // One bundle, which may have line ends in it.
            return bytes.map { SignatureFile(bundle: $0) } ?? SignatureFile()
        } catch let error as CacheError where error.code == .limitExceeded {
            return SignatureFile(decoding: StoredSignatureFile.tooLarge.bytes)
        }
    }

    /// Entries never change: each file that adds something is a new version, and readers take the newest.
    func addSignatures(_ bundles: [SignatureBundle], to document: RawDocument) async throws {
        guard !isBuildKitForm.withLock({ $0 }) else {
            guard let bundle = bundles.first, bundles.count == 1 else {
                throw CacheError(
                    .unsupported, "BuildKit's form holds one signature, not \(bundles.count); sign with one signer")
            }
            // One that is there already is success, as a second export of the same index finds it.
            _ = try await entries.saveOnce(bundle.bytes, as: GitHubKeys.buildKitSignature(document.digest))
            return
        }
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
