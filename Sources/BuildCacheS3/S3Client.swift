package import BuildCacheCore
@_exported public import BuildCacheHTTP
public import BuildCacheSpec
import Synchronization

/// What all caches in S3 share: who has credentials, what was learned about each service, and the memory that uploads may take.
///
/// Give all backends of one program the same client.
public struct S3Client: Sendable {
    let transport: HTTPTransport
    let environment: Environment
    /// How large layers are cut.
    package var parts = PartSizes()
    /// Seconds after which an upload of anybody counts as left behind.
    package var leftoverAge: Int64 = 24 * 3600
    /// What time it is.
    package var now: @Sendable () -> Timestamp = { Timestamp.now() }
    private let provider: any AWSCredentialProvider
    private let known: Known
    /// Parts of large blobs that wait for their upload or are under way, all together.
    let budget = Budget(48 << 20)

    /// The client of this process: Amazon's order of credentials, the environment's proxies.
    public static let shared = S3Client()

    /// Makes a client with an empty memory.
    ///
    /// - Parameters:
    ///   - credentials: Who is asked for credentials that the options of a cache do not have; `nil` for
    ///     ``CredentialChain/standard(environment:transport:)``.
    ///   - environment: Where `AWS_…` variables are looked up.
    ///   - transport: How services are spoken to.
    public init(
        credentials: (any AWSCredentialProvider)? = nil, environment: Environment = .process,
        transport: HTTPTransport = .shared
    ) {
        self.transport = transport
        self.environment = environment
        provider = credentials ?? CredentialChain.standard(environment: environment, transport: transport)
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

    /// Who signs requests to a bucket.
    func credentials(for options: S3Options, region: String) -> CredentialCache {
        if let id = options.accessKeyID, let secret = options.secretAccessKey {
            let known = AWSCredentials(
                accessKeyID: id, secretAccessKey: secret, sessionToken: options.sessionToken)
            return CredentialCache(StaticCredentials(known), region: region, now: now)
        }
        return known.credentials.withLock { caches in
            if let cache = caches[region] { return cache }
            let cache = CredentialCache(provider, region: region, now: now)
            caches[region] = cache
            return cache
        }
    }

    /// The region of a bucket: that of its options, else that of the profile.
    func region(of options: S3Options) async throws -> String {
        if !options.region.isEmpty { return options.region }
        if let region = environment.first("AWS_REGION", "AWS_DEFAULT_REGION") { return region }
        if let region = try await SharedProfiles.read(environment).current["region"] { return region }
        throw CacheError(
            .invalidSpec, "no region is set: write region=…, or set AWS_REGION or the region of your profile",
            context: .init(backend: "s3"))
    }
}

/// How layers are cut into parts.
package struct PartSizes: Sendable {
    /// Larger layers go in parts, which cost requests and, without TLS, a digest each; smaller ones go whole, several at once.
    package var threshold: Int64 = 64 << 20
    /// Bytes of a part, unless that would make more than ``mostParts`` of a layer; Amazon wants 5 MiB or more.
    package var size: Int64 = 8 << 20
    /// Parts that an object may have.
    private static let mostParts: Int64 = 10_000

    package init() {}

    /// Bytes of each part but the last: some services insist on one size.
    func size(for bytes: Int64) -> Int64 {
        let needed = (bytes + PartSizes.mostParts - 1) / PartSizes.mostParts
        let mebibyte: Int64 = 1 << 20
        return max(size, needed <= size ? size : (needed + mebibyte - 1) / mebibyte * mebibyte)
    }
}

/// One service that speaks S3, and what was learned about it.
final class S3Service: Sendable {
    private let learned: Mutex<S3Vendor?>
    private let assumed: S3Vendor
    private let swapping = Mutex<Bool?>(nil)
    let quota = RetryQuota()
    let pace: Pace

    init(_ endpoint: S3Endpoint) {
        assumed = S3Vendor.at(endpoint.host)
        learned = Mutex(nil)
        pace = Pace()
    }

    /// Who it is, as far as one can tell.
    var vendor: S3Vendor { learned.withLock { $0 } ?? assumed }

    /// Whether conditions on writes are honoured, `nil` while nobody has asked.
    var swaps: Bool? {
        get { swapping.withLock { $0 } }
        set { swapping.withLock { $0 = newValue } }
    }

    /// Takes note of who answers: a host of nobody in particular says it in a header.
    func heard(from server: String?) {
        guard assumed == .unknown, let server else { return }
        learned.withLock { if $0 == nil { $0 = S3Vendor.answering(server) } }
    }
}
