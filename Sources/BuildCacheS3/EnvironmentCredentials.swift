public import BuildCacheCore

/// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
///
/// - Source: `Documentation/Spec/backends.md` §5.5.
public struct EnvironmentCredentials: AWSCredentialProvider {
    private let environment: Environment

    /// Looks in `environment`.
    public init(_ environment: Environment = .process) { self.environment = environment }

    /// What the variables hold, `nil` unless both keys are there.
    public func credentials(region: String) async throws -> AWSCredentials? {
        // The second names are those of AWS's first tools.
        guard let id = environment.first("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY"),
            let secret = environment.first("AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY")
        else { return nil }
        return AWSCredentials(
            accessKeyID: id, secretAccessKey: Secret(secret),
            sessionToken: environment.first("AWS_SESSION_TOKEN").map { Secret($0) })
    }
}

extension Environment {
    /// The first of these variables that is set and not empty: CI systems set a secret that they do not have to nothing.
    func first(_ names: String...) -> String? {
        names.lazy.compactMap { self[$0] }.first { !$0.isEmpty }
    }
}
