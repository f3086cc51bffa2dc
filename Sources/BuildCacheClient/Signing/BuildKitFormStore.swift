import BuildCacheSigning

/// A store that has a form for signatures of BuildKit's, beside its own.
package protocol BuildKitFormStore: SignatureStore {
    /// Reads and writes BuildKit's form from now on; called before anything else.
    func useBuildKitForm()
}

extension CacheStore {
    /// Chooses the form of signatures that the rules ask for.
    func chooseForm(signing: SigningPolicy? = nil, _ verification: VerificationPolicy) {
        guard signing?.usesBuildKitForm == true || (verification.mode != .off && verification.usesBuildKitForm) else {
            return
        }
        (self as? any BuildKitFormStore)?.useBuildKitForm()
    }
}
