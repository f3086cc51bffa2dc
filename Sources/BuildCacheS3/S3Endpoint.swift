package import BuildCacheCore
package import BuildCacheSpec

/// Where a bucket is: in the host, or first in the path.
///
/// - Source: `spec/backends.md` §5.4; AWS SDK for Go `service/s3/endpoints.go`.
package struct S3Endpoint: Hashable, Sendable {
    /// `https://host:port` without a path.
    package let origin: String
    /// What is signed as the host: with the port only where that is not the scheme's own.
    package let host: String
    /// Whether bodies travel in the clear.
    package let isPlain: Bool
    /// What stands before every key: percent-encoded, without a slash at its end.
    package let root: String

    /// - Throws: `CacheError` `.invalidSpec` if no such bucket can be.
    package init(_ options: S3Options, region: String) throws(CacheError) {
        let bucket = options.bucket
        guard !bucket.isEmpty, !bucket.contains("/") else {
            throw CacheError(.invalidSpec, "invalid bucket \(bucket.quoted): expected one word without slashes")
        }
        guard let url = options.endpointURL else {
            let isHost = S3Endpoint.canBeHost(bucket, isPlain: false)
            let labels = isHost ? try S3Endpoint.labels(of: bucket) : []
            host = try AWSPartition.url(of: "s3", in: region, below: labels).host
            origin = "https://" + host
            isPlain = false
            root = isHost ? "" : "/" + bucket.uriEncoded()
            return
        }
        guard url.query == nil else {
            throw CacheError(.invalidSpec, "\"endpoint_url\" has a query, which no request can be sent with: remove it")
        }
        let isPlain = url.scheme == "http"
        let isHost = !options.usePathStyle && !url.isAddress && S3Endpoint.canBeHost(bucket, isPlain: isPlain)
        let port = url.port.flatMap { $0 == (isPlain ? 80 : 443) ? nil : $0 }
        let place = try ServiceURL(
            scheme: url.scheme, isHost ? try S3Endpoint.labels(of: bucket) : [], in: url.host, port: port)
        host = place.host + (port.map { ":\($0)" } ?? "")
        origin = place.base
        self.isPlain = isPlain
        var path = url.path
        while path.hasSuffix("/") { path.removeLast() }
        root = path + (isHost ? "" : "/" + bucket.uriEncoded())
    }

    /// The path of an object, or of the bucket itself.
    package func path(_ key: String?) -> String {
        guard let key else { return root.isEmpty ? "/" : root }
        return "\(root)/\(key.uriEncoded(keepingSlashes: true))"
    }

    /// The labels of a bucket that is the beginning of a host.
    private static func labels(of bucket: String) throws(CacheError) -> [HostLabel] {
        var labels: [HostLabel] = []
        for part in bucket.split(separator: ".", omittingEmptySubsequences: false) {
            labels.append(try HostLabel(part, as: "bucket", example: "my-cache"))
        }
        return labels
    }

    /// Whether a bucket's name may be the beginning of a host.
    ///
    /// A certificate for `*.host` does not cover a name with dots in it.
    static func canBeHost(_ bucket: String, isPlain: Bool) -> Bool {
        let bytes = Array(bucket.utf8)
        guard (3...63).contains(bytes.count), let first = bytes.first, let last = bytes.last,
            first.isLowercaseLetterOrDigit, last.isLowercaseLetterOrDigit
        else { return false }
        let isAddress = bytes.allSatisfy { (48...57).contains($0) || $0 == UInt8(ascii: ".") }
        return (try? labels(of: bucket)) != nil && (isPlain || !bucket.contains("."))
            && !(isAddress && bucket.contains("."))
    }
}

/// The hosts of Amazon's services, by region.
///
/// - Source: AWS, "Service endpoints and quotas"; botocore `data/partitions.json`.
enum AWSPartition {
    private static let suffixes: [(prefix: String, suffix: String)] = [
        ("cn-", "amazonaws.com.cn"), ("us-isob-", "sc2s.sgov.gov"), ("us-isof-", "csp.hci.ic.gov"),
        ("us-iso-", "c2s.ic.gov"), ("eu-isoe-", "cloud.adc-e.uk"), ("eusc-", "amazonaws.eu"),
    ]

    /// The URL of a service in a region, as `https://sts.eu-west-1.amazonaws.com`.
    ///
    /// - Parameter labels: What stands in front of the service.
    /// - Throws: `CacheError` `.invalidSpec` if the region is not a label of a host.
    static func url(
        of service: String, in region: String, below labels: [HostLabel] = []
    ) throws(CacheError) -> ServiceURL {
        let region = try HostLabel(region, as: "region", example: "eu-west-1")
        let suffix = suffixes.first { region.text.hasPrefix($0.prefix) }?.suffix ?? "amazonaws.com"
        return try ServiceURL(labels + [try HostLabel(service, as: "service", example: "s3"), region], in: suffix)
    }
}

extension ServiceURL {
    /// Whether the host is an IP address, in front of which nothing can stand.
    fileprivate var isAddress: Bool {
        host.hasPrefix("[") || host.utf8.allSatisfy { (48...57).contains($0) || $0 == UInt8(ascii: ".") }
    }
}

extension UInt8 {
    fileprivate var isLowercaseLetterOrDigit: Bool {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(self) || (48...57).contains(self)
    }
}
