import BuildCacheCore
import BuildCacheHTTP
import BuildCacheClient
import NIOHTTP1

/// An answer of a service that refuses.
struct S3Failure: Error {
    let status: Int
    /// As `NoSuchKey`; empty where an answer has no body.
    let code: String
    var error: CacheError

    /// Whether the service wants to be asked less often.
    var isThrottle: Bool { status == 429 || S3Failure.throttles.contains(code) }

    /// Whether new credentials may help.
    var isExpired: Bool { ["ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"].contains(code) }

    /// Whether a condition on a write was not met: somebody else wrote, or removed, what was to be replaced.
    var isOvertaken: Bool { status == 412 || (status == 404 && code == "NoSuchKey") }

    /// Whether a clock that is off may be the reason: a response to HEAD has no body, and so no code.
    var mayBeSkew: Bool { S3Failure.skews.contains(code) || (status == 403 && code.isEmpty) }

    /// The tier of an object that cannot be read for being archived, `nil` if that is not the reason.
    var archived: ArchivedBlob? { error.cause as? ArchivedBlob }

    private static let skews: Set<String> = [
        "RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture", "SignatureDoesNotMatch", "AuthFailure",
        "InvalidSignatureException",
    ]

    private static let throttles: Set<String> = [
        "SlowDown", "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottledException",
        "RequestThrottled", "TooManyRequestsException", "RequestLimitExceeded", "BandwidthLimitExceeded",
        "LimitExceededException", "ProvisionedThroughputExceededException", "TransactionInProgressException",
        "PriorRequestNotComplete", "EC2ThrottledException",
    ]

    /// Refusals that pass, beside throttling, whatever their status is.
    private static let passing: Set<String> = [
        "RequestTimeout", "RequestTimeoutException", "InternalError", "ServiceUnavailable", "OperationAborted",
        "ConditionalRequestConflict",
        // What arrived was not what was sent: the source is verified, so the way is to blame.
        "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch",
    ]

    private static let fullStores: Set<String> = [
        "QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded",
    ]

    /// An error for a log.
    static func summary(of error: any Error) -> String {
        (error as? S3Failure)?.error.description ?? shortDescription(of: error)
    }

    init(_ response: IncomingResponse, _ request: S3Request, in bucket: S3Bucket) async {
        let failure = await response.failure { bytes in
            // An answer without a body, as to HEAD, is none, and one that is no XML speaks for itself.
            guard let root = try? XMLNode.parse(bytes), let error = root.error else { return nil }
            let words = ["Message", "StorageClass", "AccessTier"].compactMap { error.value($0) }
            return (error.value("Code"), words.joined(separator: " "))
        }
        status = failure.status
        code = failure.code ?? ""
        error = failure.error
        if isThrottle || S3Failure.passing.contains(code) {
            error.code = .unavailable
            if error.retry == .never { error.retry = .worthwhile }
        }
        explain(response, request, in: bucket)
    }

    /// Adds what is to be done.
    private mutating func explain(_ response: IncomingResponse, _ request: S3Request, in bucket: S3Bucket) {
        let name = bucket.options.bucket
        let region = response.shown(response.headers.first(name: "x-amz-bucket-region"))
        func advise(_ code: CacheError.Code, _ advice: String) {
            error.code = code
            error.retry = .never
            error.message += "; \(advice)"
        }
        switch code {
        case _ where isExpired:
            advise(.denied, "the credentials have expired: get new ones, or set up a source that renews them")
        case "InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException":
            advise(.denied, "the service does not know the access key: check access_key_id and endpoint_url")
        case "SignatureDoesNotMatch":
            let accept = bucket.options.disableAcceptEncoding ? "" : ", or set disable_accept_encoding=true"
            advise(
                .denied,
                "secret_access_key is not that of access_key_id, or something on the way changed the request: "
                    + "check the key\(accept)")
        case "InvalidToken": advise(.denied, "session_token is not that of access_key_id: get both again")
        case "RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture":
            advise(.denied, "the clock of this machine is wrong\(bucket.skew(response)): set it")
        case "InvalidObjectState":
            let tier = StoredObject.archives.first { error.message.contains($0) }
            error.cause = ArchivedBlob(tier: tier ?? "of its storage class")
            advise(
                .notFound,
                "the object is archived and cannot be read now: export again, or restore it, and exempt the cache from lifecycle rules that archive"
            )
        case "NoSuchBucket":
            advise(.notFound, "there is no bucket \(name): create it, or check bucket, region and endpoint_url")
        case "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed",
            "IllegalLocationConstraintException":
            let place = region.map { "is in \($0): set region=\($0)" } ?? "is in another region: check region"
            advise(.invalidSpec, "the bucket \(name) \(place)")
        case "NotImplemented", "MethodNotAllowed": advise(.unsupported, "the service has no such operation")
        case _ where S3Failure.fullStores.contains(code): advise(.storageFull, "the bucket is full")
        default:
            switch status {
            case 301, 307:
                advise(
                    .invalidSpec, "the bucket \(name) is elsewhere: set \(region.map { "region=\($0)" } ?? "region")")
            case 401, 403:
                // Without it, what is not there looks forbidden.
                let list = [.HEAD, .GET].contains(request.method) && request.key != nil
                advise(
                    .denied,
                    "the credentials need \(request.permission)" + (list ? ", and s3:ListBucket on \(name)" : ""))
            default: break
            }
        }
    }
}

extension XMLNode {
    /// `<Error>`, also in the wrapping of other services than S3.
    var error: XMLNode? { name == "Error" ? self : first("Error") }
}
