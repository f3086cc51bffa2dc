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
            throw CacheError(.invalidSpec, "\"\(bucket)\" is no name of a bucket: it is one word without slashes")
        }
        guard let url = options.endpointURL else {
            // The region becomes part of a host name, and must not become more than that.
            guard !region.isEmpty, region.utf8.allSatisfy({ $0.isLowercaseLetterOrDigit || $0 == UInt8(ascii: "-") })
            else {
                throw CacheError(.invalidSpec, "\"\(region)\" is no name of a region, as eu-west-1 is one")
            }
            let service = "s3.\(region).\(AWSPartition.suffix(of: region))"
            let isHost = S3Endpoint.canBeHost(bucket, isPlain: false)
            host = isHost ? "\(bucket).\(service)" : service
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
        let port = url.port.flatMap { $0 == (isPlain ? 80 : 443) ? nil : ":\($0)" } ?? ""
        host = (isHost ? "\(bucket)." : "") + url.host + port
        origin = "\(url.scheme)://\(host)"
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

    /// Whether a bucket's name may be the first label of a host.
    ///
    /// A certificate for `*.host` does not cover a name with dots in it.
    static func canBeHost(_ bucket: String, isPlain: Bool) -> Bool {
        let bytes = Array(bucket.utf8)
        guard (3...63).contains(bytes.count), let first = bytes.first, let last = bytes.last,
            first.isLowercaseLetterOrDigit, last.isLowercaseLetterOrDigit
        else { return false }
        let hasOnlyLabels = bytes.allSatisfy {
            $0.isLowercaseLetterOrDigit || $0 == UInt8(ascii: "-") || (isPlain && $0 == UInt8(ascii: "."))
        }
        let isAddress = bytes.allSatisfy { (48...57).contains($0) || $0 == UInt8(ascii: ".") }
        return hasOnlyLabels && !bucket.contains("..") && !(isAddress && bucket.contains("."))
    }
}

/// The name under which the services of a region live.
///
/// - Source: AWS, "Service endpoints and quotas"; botocore `data/partitions.json`.
enum AWSPartition {
    private static let suffixes: [(prefix: String, suffix: String)] = [
        ("cn-", "amazonaws.com.cn"), ("us-isob-", "sc2s.sgov.gov"), ("us-isof-", "csp.hci.ic.gov"),
        ("us-iso-", "c2s.ic.gov"), ("eu-isoe-", "cloud.adc-e.uk"), ("eusc-", "amazonaws.eu"),
    ]

    static func suffix(of region: String) -> String {
        suffixes.first { region.hasPrefix($0.prefix) }?.suffix ?? "amazonaws.com"
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
