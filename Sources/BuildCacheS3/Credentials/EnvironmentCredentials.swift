import BuildCacheCore

extension Environment {
    /// The keys of `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`; `nil` unless both keys are there.
    ///
    /// - Source: `Documentation/Spec/backends.md` §5.5.
    var awsCredentials: AWSCredentials? {
        // The second names are those of AWS's first tools.
        guard let id = first("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY"),
            let secret = first("AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY")
        else { return nil }
        return AWSCredentials(
            accessKeyID: id, secretAccessKey: Secret(secret),
            sessionToken: first("AWS_SESSION_TOKEN").map { Secret($0) })
    }

    /// The first of these variables that is set and not empty: CI systems set a secret that they do not have to nothing.
    func first(_ names: String...) -> String? {
        names.lazy.compactMap { self[$0] }.first { !$0.isEmpty }
    }
}
