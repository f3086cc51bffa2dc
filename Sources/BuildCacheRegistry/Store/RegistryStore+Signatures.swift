import BuildCacheClient
import BuildCacheCore
import BuildCacheOCI
import BuildCacheSigning

extension RegistryStore: SignatureStore {
    func signaturePlace(of name: String) -> String {
        "registry:\(repository.domain)/\(repository.path):\(ref.tag ?? "latest")"
    }

    func signatures(of document: Descriptor) async throws -> SignatureFile {
        // An export decides by the registry itself: a mirror may be behind.
        try await repository.signatures(
            of: document.digest, at: use == .import ? repository.servers.readers : [repository.origin])
    }

    func addSignatures(_ bundles: [SignatureBundle], to document: RawDocument) async throws {
        for bundle in bundles {
            try await repository.addSignature(
                bundle, to: document.descriptor, now: repository.client.now())
        }
    }
}
