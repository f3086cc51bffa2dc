/// A field of a certificate of Fulcio, by BuildKit's name.
///
/// - Source: `Documentation/Spec/signing.md` §1.1; sigstore/fulcio, docs/oid-info.md.
@nonexhaustive
public enum CertificateField: String, Hashable, Sendable, CaseIterable {
    /// The distinguished name of the issuer of the certificate.
    case certificateIssuer
    /// The first URI, else the first e-mail address: for GitHub the workflow file with its ref.
    case subjectAlternativeName
    /// The issuer of the OIDC token.
    case issuer
    /// The event that triggered the workflow.
    case githubWorkflowTrigger
    /// The commit of the workflow.
    case githubWorkflowSHA
    /// The name of the workflow.
    case githubWorkflowName
    /// The repository of the workflow, as `owner/name`.
    case githubWorkflowRepository
    /// The ref of the workflow.
    case githubWorkflowRef
    /// The workflow that signed.
    case buildSignerURI
    /// The commit of the workflow that signed.
    case buildSignerDigest
    /// The kind of runner.
    case runnerEnvironment
    /// The repository that was built.
    case sourceRepositoryURI
    /// The commit that was built.
    case sourceRepositoryDigest
    /// The ref that was built.
    case sourceRepositoryRef
    /// The number of the repository.
    case sourceRepositoryIdentifier
    /// The owner of the repository.
    case sourceRepositoryOwnerURI
    /// The number of the owner.
    case sourceRepositoryOwnerIdentifier
    /// The configuration of the build.
    case buildConfigURI
    /// The commit of the configuration.
    case buildConfigDigest
    /// The event that triggered the build.
    case buildTrigger
    /// The run of the build.
    case runInvocationURI
    /// The visibility of the repository at the time.
    case sourceRepositoryVisibilityAtSigning

    /// The identifier of the extension, and whether its value is bare text.
    var extensionID: (oid: String, isRaw: Bool)? {
        let number: Int? =
            switch self {
            case .certificateIssuer, .subjectAlternativeName: nil
            case .issuer: 8
            case .githubWorkflowTrigger: 2
            case .githubWorkflowSHA: 3
            case .githubWorkflowName: 4
            case .githubWorkflowRepository: 5
            case .githubWorkflowRef: 6
            case .buildSignerURI: 9
            case .buildSignerDigest: 10
            case .runnerEnvironment: 11
            case .sourceRepositoryURI: 12
            case .sourceRepositoryDigest: 13
            case .sourceRepositoryRef: 14
            case .sourceRepositoryIdentifier: 15
            case .sourceRepositoryOwnerURI: 16
            case .sourceRepositoryOwnerIdentifier: 17
            case .buildConfigURI: 18
            case .buildConfigDigest: 19
            case .buildTrigger: 20
            case .runInvocationURI: 21
            case .sourceRepositoryVisibilityAtSigning: 22
            }
        return number.map { ("1.3.6.1.4.1.57264.1.\($0)", (2...6).contains($0)) }
    }
}

extension String {
    /// Whether a pattern of BuildKit matches: `*`, `*x*`, `*x`, `x*`, else the same text; other stars are literal.
    ///
    /// - Source: BuildKit `cache/remotecache/gha/gha.go: simplePatternMatch`.
    func matchesIdentity(_ pattern: String) -> Bool {
        if pattern == "*" { return true }
        let text = Array(utf8)
        var body = Array(pattern.utf8)
        let star = UInt8(ascii: "*")
        let (begins, ends) = (body.first == star, body.last == star && body.count > 1)
        if begins { body.removeFirst() }
        if ends { body.removeLast() }
        switch (begins, ends) {
        case (true, true):
            guard !body.isEmpty else { return true }
            return text.count >= body.count
                && (0...(text.count - body.count)).contains { text[$0...].starts(with: body) }
        case (true, false): return text.count >= body.count && text.suffix(body.count).elementsEqual(body)
        case (false, true): return text.starts(with: body)
        case (false, false): return text == body
        }
    }
}
