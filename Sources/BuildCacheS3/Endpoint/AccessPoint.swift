import BuildCacheCore

/// An access point, which stands for a bucket: `arn:aws:s3:eu-west-1:123456789012:accesspoint/name`.
///
/// - Source: AWS, "Access points naming rules, restrictions, and limitations"; the rules of endpoints in AWS's SDKs.
struct AccessPoint: Hashable, Sendable {
    /// The ARN as it was written.
    let arn: String
    /// The partition of the ARN, as in `aws`.
    let partition: String
    /// The region of the ARN.
    let region: HostLabel
    /// The name and the account, as the first label of a host.
    let label: HostLabel

    /// Reads a bucket that is an ARN; `nil` for the name of a bucket.
    ///
    /// - Throws: `CacheError` `.invalidSpec` for an ARN that is not an access point's, `.unsupported` for an access point of several regions, of
    ///   Outposts or of Object Lambda.
    init?(bucket: String) throws(CacheError) {
        guard bucket.hasPrefix("arn:") else { return nil }
        func invalid(_ expectation: String) -> CacheError {
            CacheError(.invalidSpec, "invalid bucket \(bucket.quoted): expected \(expectation)")
        }
        let fields = bucket.split(separator: ":", maxSplits: 5, omittingEmptySubsequences: false)
        guard fields.count == 6 else { throw invalid("arn:aws:s3:<region>:<account>:accesspoint/<name>") }
        guard fields[2] == "s3" else {
            guard ["s3-outposts", "s3-object-lambda", "s3express"].contains(fields[2]) else {
                throw invalid("an ARN of s3")
            }
            throw CacheError(
                .unsupported,
                "the bucket is an access point of \(fields[2]), which cannot hold a cache: use a bucket of S3")
        }
        let resource = fields[5].split(omittingEmptySubsequences: false) { $0 == "/" || $0 == ":" }
        guard resource.count == 2, resource[0] == "accesspoint" else { throw invalid("accesspoint/<name> at its end") }
        guard !fields[3].isEmpty else {
            throw CacheError(
                .unsupported,
                "the bucket is a multi-region access point, whose requests need signatures of version 4A: use the bucket or an "
                    + "access point of one region")
        }
        guard !fields[4].isEmpty, fields[4].allSatisfy({ $0.isASCII && $0.isNumber }) else {
            throw invalid("an account of digits as its fifth field")
        }
        guard !resource[1].isEmpty else { throw invalid("the name of an access point at its end") }
        arn = bucket
        partition = String(fields[1])
        region = try HostLabel(region: fields[3])
        label = try HostLabel("\(resource[1])-\(fields[4])", as: "access point", example: "my-point")
    }
}
