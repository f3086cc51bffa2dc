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
    public var manifestsPrefix: String
    /// `blobs_prefix`: put after ``prefix`` as it is.
    ///
    /// Default `blobs/`.
    public var blobsPrefix: String
    /// `name`, split on `;`: an export writes all of them, BuildKit imports the first.
    ///
    /// Default `buildkit`.
    public var names: [String]
    /// `touch_refresh`: how old a stored blob may be before an export renews it.
    ///
    /// Default 24 hours, export only.
    public var touchRefresh: Duration
    /// `endpoint_url`: a service other than Amazon's.
    ///
    /// Else that of the environment or the profile, which the backend reads.
    public var endpointURL: ServiceURL?
    /// `use_path_style`: the bucket is in the path instead of the host.
    ///
    /// Default `false`. BuildKit looks at it with an ``endpointURL`` only; the objects are the same either way.
    public var usePathStyle: Bool
    /// `access_key_id`.
    public var accessKeyID: String?
    /// `secret_access_key`.
    public var secretAccessKey: Secret<String>?
    /// `session_token`.
    public var sessionToken: Secret<String>?
    /// `upload_parallelism`: layers uploaded at a time, 1 or more.
    ///
    /// Default 4, export only.
    public var uploadParallelism: Int
    /// `disable_accept_encoding`: leaves `Accept-Encoding` out, which Google's service changes on its way.
    ///
    /// Default `false`.
    public var disableAcceptEncoding: Bool
    /// `retry_mode`; `nil` for `standard` or what `AWS_RETRY_MODE` says.
    public var retryMode: RetryMode?
    /// `retry_max_attempts`: 1 or more; `nil` for 3 or what `AWS_MAX_ATTEMPTS` says.
    public var retryMaxAttempts: Int?

    private static let defaultTouchRefresh = Duration.seconds(24 * 3600)
    private static let defaultUploadParallelism = 4

    /// Makes options with BuildKit's defaults; the others are properties to set.
    public init(bucket: String, region: String, prefix: String = "", names: [String] = ["buildkit"]) {
        self.bucket = bucket
        self.region = region
        self.prefix = prefix
        self.names = names
        manifestsPrefix = "manifests/"
        blobsPrefix = "blobs/"
        touchRefresh = S3Options.defaultTouchRefresh
        usePathStyle = false
        uploadParallelism = S3Options.defaultUploadParallelism
        disableAcceptEncoding = false
    }

    init(from reader: inout AttributeReader) throws(CacheError) {
        let regions = ["AWS_REGION", "AWS_DEFAULT_REGION"]
        let given = try reader.string("region", else: regions)
        self.init(
            bucket: try reader.required("bucket", else: ["AWS_BUCKET"]),
            // BuildKit does not look for one in a profile.
            region: given == nil && !reader.isLenient ? "" : try reader.required("region", else: regions))
        prefix = try reader.string("prefix") ?? prefix
        manifestsPrefix = try reader.string("manifests_prefix") ?? manifestsPrefix
        blobsPrefix = try reader.string("blobs_prefix") ?? blobsPrefix
        names = try reader.names("name")
        touchRefresh = try reader.duration("touch_refresh", default: touchRefresh, isTolerated: true)
        endpointURL = try reader.url("endpoint_url")
        usePathStyle = try reader.bool("use_path_style", default: false, isTolerated: true)
        accessKeyID = try reader.nonEmpty("access_key_id")
        secretAccessKey = try reader.secret("secret_access_key")
        sessionToken = try reader.secret("session_token")
        uploadParallelism = try reader.positive("upload_parallelism") ?? uploadParallelism
        disableAcceptEncoding = try reader.bool("disable_accept_encoding", default: false, isTolerated: true)
        if reader.has("retry_mode") { retryMode = try reader.word("retry_mode", default: RetryMode.standard) }
        retryMaxAttempts = try reader.positive("retry_max_attempts")

        try reader.refuse(
            "\"access_key_id\" and \"secret_access_key\" have an effect only together: write both or none",
            when: (accessKeyID == nil) != (secretAccessKey == nil))
        try reader.refuse(
            "\"session_token\" has no effect without \"access_key_id\" and \"secret_access_key\": write them or remove it",
            when: sessionToken != nil && secretAccessKey == nil)
    }

    func write(to writer: inout AttributeWriter) {
        writer.text("region", region, default: "")
        writer.text("bucket", bucket)
        writer.text("prefix", prefix, default: "")
        writer.text("manifests_prefix", manifestsPrefix, default: "manifests/")
        writer.text("blobs_prefix", blobsPrefix, default: "blobs/")
        writer.names("name", names)
        writer.duration("touch_refresh", touchRefresh, default: S3Options.defaultTouchRefresh)
        writer.url("endpoint_url", endpointURL)
        writer.flag("use_path_style", usePathStyle)
        writer.text("access_key_id", accessKeyID)
        writer.secret("secret_access_key", secretAccessKey)
        writer.secret("session_token", sessionToken)
        writer.text("upload_parallelism", "\(uploadParallelism)", default: "\(S3Options.defaultUploadParallelism)")
        writer.flag("disable_accept_encoding", disableAcceptEncoding)
        writer.text("retry_mode", retryMode?.rawValue)
        writer.text("retry_max_attempts", retryMaxAttempts.map(String.init))
    }
}
