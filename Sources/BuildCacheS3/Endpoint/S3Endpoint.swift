package import BuildCacheCore
import BuildCacheHTTP
package import BuildCacheSpec

/// Where a bucket is: in the host, or first in the path.
///
/// - Source: `Documentation/Spec/backends.md` §5.4; AWS SDK for Go `service/s3/endpoints.go`; botocore `endpoint-rule-set-1.json` of S3.
package struct S3Endpoint: Hashable, Sendable {
    /// `https://host:port` without a path.
    package let origin: String
    /// What is signed as the host: with the port only where that is not the scheme's own.
    package let host: String
    /// The region that requests are signed for: an access point's own.
    package let region: String
    /// Whether bodies travel in the clear.
    package let isPlain: Bool
    /// Whether the spec alone names the host, and not the environment, the profile or Amazon.
    let isNamedBySpec: Bool
    /// The path before every key: percent-encoded, without a slash at its end.
    package let root: String
    /// The text before a key that is the source of a copy, with a slash at its end.
    private let copyRoot: String

    /// - Parameters:
    ///   - region: The region of the options, else of the environment or the profile.
    ///   - settings: The URL and the kind of hosts that the environment and the profile name. The options' own URL wins.
    ///   - usesARNRegion: Whether an access point may be in another region.
    /// - Throws: `CacheError` `.invalidSpec` if no such bucket can be, `.unsupported` for a kind of bucket that cannot hold a cache.
    package init(
        _ options: S3Options, region: String, settings: EndpointSettings = EndpointSettings(),
        usesARNRegion: Bool = true
    ) throws(CacheError) {
        let point = try AccessPoint(bucket: options.bucket)
        if let point {
            guard usesARNRegion || point.region.text == region else {
                throw CacheError(
                    .invalidSpec,
                    "the bucket is in \(point.region.text), not in \(region.quoted): set the region, or s3_use_arn_region=true"
                )
            }
            copyRoot = "\(point.arn)/object/".percentEncoded(keeping: "/")
        } else {
            try S3Endpoint.check(bucket: options.bucket)
            copyRoot = options.bucket.percentEncoded + "/"
        }
        self.region = point?.region.text ?? region
        isNamedBySpec = options.endpointURL != nil
        let configured = settings.configured.map { (url: $0.url, name: $0.name) }
        guard let (url, name) = options.endpointURL.map({ ($0, "endpoint_url") }) ?? configured else {
            (host, root) = try S3Endpoint.amazon(options, point, region: self.region, settings)
            origin = "https://" + host
            isPlain = false
            return
        }
        guard url.query == nil else {
            throw CacheError(.invalidSpec, "\(name) has a query, which no request can be sent with: remove it")
        }
        try settings.check(custom: name)
        let isPlain = url.scheme == "http"
        var isHost = !options.usePathStyle && !url.isAddress
        var labels: [HostLabel] = []
        if let point {
            guard isHost else {
                throw CacheError(
                    .invalidSpec,
                    "an access point cannot be in the path: remove use_path_style, or name a host in \(name)")
            }
            labels = [point.label]
        } else {
            isHost = isHost && S3Endpoint.canBeHost(options.bucket, isPlain: isPlain)
            if isHost { labels = try S3Endpoint.labels(of: options.bucket) }
        }
        let port = url.port.flatMap { $0 == (isPlain ? 80 : 443) ? nil : $0 }
        let place = try ServiceURL(scheme: url.scheme, labels, in: url.host, port: port)
        host = place.host + (port.map { ":\($0)" } ?? "")
        origin = place.base
        self.isPlain = isPlain
        var path = url.path
        while path.hasSuffix("/") { path.removeLast() }
        root = path + (isHost ? "" : "/" + options.bucket.percentEncoded)
    }

    /// The path of an object, or of the bucket itself.
    package func path(_ key: String?) -> String {
        guard let key else { return root.isEmpty ? "/" : root }
        return "\(root)/\(key.percentEncoded(keeping: "/"))"
    }

    /// The value of `x-amz-copy-source` for an object of this bucket.
    package func copySource(_ key: String) -> String { copyRoot + key.percentEncoded(keeping: "/") }

    /// The host of a bucket at Amazon, and what stands before its keys.
    private static func amazon(
        _ options: S3Options, _ point: AccessPoint?, region: String, _ settings: EndpointSettings
    ) throws(CacheError) -> (host: String, root: String) {
        let label = try HostLabel(region: region)
        let partition = AWSPartition(of: label)
        try settings.check(partition)
        let service = (point == nil ? "s3" : "s3-accesspoint") + (settings.usesFIPS ? "-fips" : "")
        var labels = [try HostLabel(service: service)]
        if settings.usesDualStack { labels.append(try HostLabel(service: "dualstack")) }
        labels.append(label)
        var root = ""
        if let point {
            guard point.partition == partition.id else {
                throw CacheError(
                    .invalidSpec,
                    "invalid bucket \(point.arn.quoted): expected the partition \(partition.id) with a region like \(region)"
                )
            }
            guard !options.usePathStyle else {
                throw CacheError(.invalidSpec, "an access point cannot be in the path: remove use_path_style")
            }
            labels.insert(point.label, at: 0)
        } else if !options.usePathStyle, canBeHost(options.bucket, isPlain: false) {
            labels.insert(contentsOf: try S3Endpoint.labels(of: options.bucket), at: 0)
        } else {
            root = "/" + options.bucket.percentEncoded
        }
        return (try ServiceURL(labels, in: partition.suffix).host, root)
    }

    /// - Throws: `CacheError` `.invalidSpec` for a text that cannot be a bucket, `.unsupported` for the alias of one of another kind.
    private static func check(bucket: String) throws(CacheError) {
        guard !bucket.isEmpty, !bucket.contains("/") else {
            throw CacheError(
                .invalidSpec,
                "invalid bucket \(bucket.quoted): expected one word without slashes, or the ARN of an access point")
        }
        for (ending, kind, reason) in kinds where bucket.hasSuffix(ending) {
            throw CacheError(
                .unsupported, "the bucket \(bucket.quoted) is \(kind), \(reason): use a general purpose bucket")
        }
    }

    private static let kinds: [(ending: String, kind: String, reason: String)] = [
        ("--x-s3", "a directory bucket of S3 Express", "which has sessions and lists of its own"),
        ("--xa-s3", "an access point of S3 Express", "which has sessions and lists of its own"),
        ("--op-s3", "an access point of Outposts", "which has hosts and signatures of its own"),
        (".mrap", "a multi-region access point", "whose requests need signatures of version 4A"),
    ]

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
