public import BuildCacheCore
@_exported public import BuildCacheHTTP
import BuildCacheSpec
import BuildCacheClient
import Synchronization

/// The state that all caches in S3 share: credentials, the traits of each service, and the memory that uploads may take.
///
/// Give all backends of one program the same client.
public struct S3Client: Sendable {
    let transport: HTTPTransport
    let environment: Environment
    /// The places that a session token of the environment may be sent to.
    let sessionTokens: CredentialOrigin
    /// How large layers are cut.
    package var parts = PartSizes()
    /// Seconds after which an upload of anybody counts as left behind.
    package var leftoverAge: Int64 = 24 * 3600
    /// What time it is.
    package var now: @Sendable () -> Timestamp = { Timestamp.now() }
    private let source: AWSCredentialSource
    private let known: Known
    /// Parts of large blobs that wait for their upload or are under way, all together.
    let budget = Budget(48 << 20)

    /// The client of this process: Amazon's order of credentials, the environment's proxies.
    public static let shared = S3Client()

    /// Makes a client with an empty memory.
    ///
    /// - Parameters:
    ///   - credentials: The source of credentials that the options of a cache do not have; `nil`, the default, for
    ///     ``AWSCredentialSource/standard(environment:transport:)``. Its keys sign requests to any `endpoint_url` and are never sent; its
    ///     session tokens are sent over TLS, to this machine, or to a host that the environment or the profile names.
    ///   - allowedHosts: Hosts that such session tokens may also be sent to without TLS; default none.
    ///   - environment: The source of `AWS_…` variables, and of the files with profiles.
    ///   - transport: The connections.
    public init(
        credentials: AWSCredentialSource? = nil, allowedHosts: CredentialHosts = .none,
        environment: Environment = .process, transport: HTTPTransport = .shared
    ) {
        sessionTokens = CredentialOrigin(
            "the session token of AWS", domains: nil,
            environment: [environment["AWS_ENDPOINT_URL_S3"], environment["AWS_ENDPOINT_URL"]],
            remedy: "set AWS_ENDPOINT_URL_S3, give access_key_id with its secret and token", allowed: allowedHosts)
        self.transport = transport
        self.environment = environment
        source = credentials ?? .standard(environment: environment, transport: transport)
        known = Known()
    }

    private final class Known: Sendable {
        let services = Mutex<[String: S3Service]>([:])
        let credentials = Mutex<[String: CredentialCache]>([:])
    }

    /// The service behind an address.
    func service(_ endpoint: S3Endpoint) -> S3Service {
        known.services.withLock { services in
            if let service = services[endpoint.origin] { return service }
            let service = S3Service(endpoint)
            services[endpoint.origin] = service
            return service
        }
    }

    /// The credentials that sign requests to a bucket.
    func credentials(for options: S3Options, region: String) -> CredentialCache {
        if let id = options.accessKeyID, let secret = options.secretAccessKey {
            let known = AWSCredentials(
                accessKeyID: id, secretAccessKey: secret, sessionToken: options.sessionToken)
            return CredentialCache(.fixed(known), region: region, now: now)
        }
        return known.credentials.withLock { caches in
            if let cache = caches[region] { return cache }
            let cache = CredentialCache(source, region: region, now: now)
            caches[region] = cache
            return cache
        }
    }

    /// The region of a bucket: that of its options, else that of the environment, the profile or the access point.
    ///
    /// - Throws: `CacheError` `.invalidSpec` without one, or for a text that cannot be one, whatever the endpoint is: a region becomes part of
    ///   signatures and of the hosts of other services.
    func region(of options: S3Options, _ settings: AWSSettings) throws(CacheError) -> String {
        var given = options.region.isEmpty ? settings.region : options.region
        if given == nil { given = try AccessPoint(bucket: options.bucket)?.region.text }
        guard let region = given else {
            throw CacheError(
                .invalidSpec, "no region is set: write region=…, or set AWS_REGION or the region of your profile",
                context: .init(backend: "s3"))
        }
        // Services other than Amazon's also have regions with capitals and underscores.
        guard (1...63).contains(region.utf8.count),
            region.utf8.allSatisfy({
                (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || $0 == UInt8(ascii: "-")
                    || $0 == UInt8(ascii: "_")
            })
        else {
            throw CacheError(
                .invalidSpec, "invalid region \(region.quoted): expected a name like eu-west-1",
                context: .init(backend: "s3"))
        }
        return region
    }
}

/// The sizes of the parts that layers are cut into.
package struct PartSizes: Sendable {
    /// Larger layers go in parts, which cost requests and, without TLS, a digest each; smaller ones go whole, several at once.
    package var threshold: Int64 = 64 << 20
    /// Bytes of a part, unless that would make more than ``mostParts`` of a layer; Amazon wants 5 MiB or more.
    package var size: Int64 = 8 << 20
    /// Parts that an object may have.
    private static let mostParts: Int64 = 10_000
    /// The largest part of an upload, which is held in memory; 10 000 of them are more than the 5 TiB that an object may have.
    private static let largestUpload: Int64 = 528 << 20
    /// The largest part of a copy, which the service makes: 5 GiB.
    private static let largestCopy: Int64 = 5 << 30

    package init() {}

    /// Bytes of each part of an upload but the last: some services insist on one size.
    ///
    /// - Throws: `CacheError` `.limitExceeded` for more bytes than an object can have.
    func size(for bytes: Int64) throws(CacheError) -> Int64 {
        try PartSizes.size(of: bytes, from: size, to: PartSizes.largestUpload)
    }

    /// Bytes of each part of a copy but the last: 1 GiB, or more for an object that would have too many.
    static func copiedSize(for bytes: Int64) throws(CacheError) -> Int64 {
        try size(of: bytes, from: 1 << 30, to: largestCopy)
    }

    private static func size(of bytes: Int64, from least: Int64, to most: Int64) throws(CacheError) -> Int64 {
        let needed = bytes.dividedRoundingUp(by: mostParts)
        guard needed <= most else {
            throw CacheError(
                .limitExceeded, "a layer of \(bytes) bytes is too large for S3: expected at most \(mostParts * most)")
        }
        let mebibyte: Int64 = 1 << 20
        return needed <= least ? least : needed.dividedRoundingUp(by: mebibyte) * mebibyte
    }
}

/// One service that speaks S3, and what was learned about it.
final class S3Service: Sendable {
    private let learned: Mutex<S3Vendor?>
    private let assumed: S3Vendor
    private let swapping = Mutex<Bool?>(nil)
    let quota = RetryQuota()
    let pace: Pace
    let clock = ClockOffset()
    /// Objects of all buckets, as `bucket/key`.
    let damaged = DamagedBlobs()

    init(_ endpoint: S3Endpoint) {
        assumed = S3Vendor.at(endpoint.host)
        learned = Mutex(nil)
        pace = Pace()
    }

    /// The vendor, as far as its host or its responses tell.
    var vendor: S3Vendor { learned.withLock { $0 } ?? assumed }

    /// Whether conditions on writes are honoured, `nil` as long as that is not known.
    var swaps: Bool? {
        get { swapping.withLock { $0 } }
        set { swapping.withLock { $0 = newValue } }
    }

    /// Learns the vendor from a `Server` header, where the host does not tell it.
    func heard(from server: String?) {
        guard assumed == .unknown, let server else { return }
        learned.withLock { if $0 == nil { $0 = S3Vendor.answering(server) } }
    }
}
