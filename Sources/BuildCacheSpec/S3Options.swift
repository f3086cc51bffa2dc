public import BuildCacheCore

/// The options of `type=s3`.
///
/// Credentials that are not given here come from the provider chain of the backend, not from this module.
///
/// - Source: `Documentation/Spec/spec-syntax.md` §4, s3.
public struct S3Options: Hashable, Sendable {
    /// How failed requests are repeated.
    @nonexhaustive
    public enum RetryMode: String, Hashable, Sendable, CaseIterable {
        /// Waits longer each time.
        case standard
        /// Also slows down while the service throttles.
        case adaptive
    }

    /// `bucket`: a name, or the ARN of an access point.
    ///
    /// Else `AWS_BUCKET`.
    public var bucket: String
    /// `region`.
    ///
    /// Else `AWS_REGION`, else `AWS_DEFAULT_REGION`, which BuildKit does not read; empty: that of the profile, which the backend reads.
    public var region: String
    /// `prefix`: put before every key as it is; a slash is part of it or not there.
    ///
    /// Default empty.
    public var prefix: String
    /// `manifests_prefix`: put after ``prefix`` as it is.
    ///
    /// Default `manifests/`.
    public var manifestsPrefix = "manifests/"
    /// `blobs_prefix`: put after ``prefix`` as it is.
    ///
    /// Default `blobs/`.
    public var blobsPrefix = "blobs/"
    /// `name`, split on `;`: an export writes all of them, BuildKit imports the first.
    ///
    /// Default `buildkit`.
    public var names: [String]
    /// `touch_refresh`: how old a stored blob may be before an export renews it.
    ///
    /// Default 24 hours, export only.
    public var touchRefresh = Duration.seconds(24 * 3600)
    /// `endpoint_url`: a service other than Amazon's.
    ///
    /// Else that of the environment or the profile, which the backend reads.
    public var endpointURL: ServiceURL?
    /// `use_path_style`: the bucket is in the path instead of the host.
    ///
    /// Default `false`. BuildKit looks at it with an ``endpointURL`` only; the objects are the same either way.
    public var usePathStyle = false
    /// `access_key_id`.
    public var accessKeyID: String?
    /// `secret_access_key`.
    public var secretAccessKey: Secret<String>?
    /// `session_token`.
    public var sessionToken: Secret<String>?
    /// `upload_parallelism`: layers uploaded at a time, 1 or more.
    ///
    /// Default 4, export only.
    public var uploadParallelism = 4
    /// `disable_accept_encoding`: leaves `Accept-Encoding` out, which Google's service changes on its way.
    ///
    /// Default `false`.
    public var disableAcceptEncoding = false
    /// `retry_mode`; `nil` for `standard` or what `AWS_RETRY_MODE` says.
    public var retryMode: RetryMode?
    /// `retry_max_attempts`: 1 or more; `nil` for 3 or what `AWS_MAX_ATTEMPTS` says.
    public var retryMaxAttempts: Int?

    /// Makes options with BuildKit's defaults; the others are properties to set.
    public init(bucket: String, region: String, prefix: String = "", names: [String] = ["buildkit"]) {
        self.bucket = bucket
        self.region = region
        self.prefix = prefix
        self.names = names
    }
}

extension S3Options: OptionTable {
    static let table: [Option<S3Options>] = [
        Option(\.region, .both("region", else: ["AWS_REGION", "AWS_DEFAULT_REGION"]), .nonEmpty.tolerated(as: "")),
        Option(\.bucket, .both("bucket", else: ["AWS_BUCKET"], isRequired: true), .any),
        Option(\.prefix, .both("prefix"), .any),
        Option(\.manifestsPrefix, .both("manifests_prefix"), .any),
        Option(\.blobsPrefix, .both("blobs_prefix"), .any),
        Option(\.names, .both("name"), .names),
        Option(\.touchRefresh, .export("touch_refresh"), .duration.tolerated(as: nil)),
        Option(\.endpointURL, .both("endpoint_url"), .url),
        Option(\.usePathStyle, .both("use_path_style"), .bool.tolerated(as: false)),
        Option(\.accessKeyID, .both("access_key_id"), .nonEmpty.tolerated(as: "")),
        Option(\.secretAccessKey, .both("secret_access_key"), .secret),
        Option(\.sessionToken, .both("session_token"), .secret),
        Option(\.uploadParallelism, .export("upload_parallelism"), .positive),
        Option(\.disableAcceptEncoding, .both("disable_accept_encoding"), .bool.tolerated(as: false)),
        Option(\.retryMode, .both("retry_mode"), .word),
        Option(\.retryMaxAttempts, .both("retry_max_attempts"), .positive),
    ]

    var defaults: S3Options { S3Options(bucket: "", region: "") }

    init(from reader: inout AttributeReader) throws(CacheError) {
        self.init(bucket: "", region: "")
        try read(from: &reader)
    }

    func check(_ reader: inout AttributeReader) throws(CacheError) {
        // BuildKit does not read the region of a profile.
        if reader.isLenient, !reader.isGiven("region") { throw reader.missing("region") }
        try reader.refuse(
            "\"access_key_id\" and \"secret_access_key\" have an effect only together: write both or none",
            when: (accessKeyID == nil) != (secretAccessKey == nil))
        try reader.refuse(
            "\"session_token\" has no effect without \"access_key_id\" and \"secret_access_key\": write them or remove it",
            when: sessionToken != nil && secretAccessKey == nil)
    }
}
