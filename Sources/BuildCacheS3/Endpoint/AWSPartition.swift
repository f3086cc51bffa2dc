import BuildCacheCore

/// A group of Amazon's regions that share the endings of their hosts.
///
/// - Source: AWS, "Service endpoints and quotas"; botocore `data/partitions.json`.
struct AWSPartition: Hashable, Sendable {
    /// As in the second field of an ARN.
    let id: String
    /// The ending of hosts.
    let suffix: String
    /// The ending of hosts with IPv4 and IPv6 addresses; S3 has `dualstack` in its hosts instead.
    let dualStackSuffix: String

    private static let commercial = AWSPartition(id: "aws", suffix: "amazonaws.com", dualStackSuffix: "api.aws")
    private static let others: [(regions: String, partition: AWSPartition)] = [
        ("us-gov-", AWSPartition(id: "aws-us-gov", suffix: "amazonaws.com", dualStackSuffix: "api.aws")),
        (
            "cn-",
            AWSPartition(
                id: "aws-cn", suffix: "amazonaws.com.cn", dualStackSuffix: "api.amazonwebservices.com.cn")
        ),
        ("us-isob-", AWSPartition(id: "aws-iso-b", suffix: "sc2s.sgov.gov", dualStackSuffix: "api.aws.scloud")),
        ("us-isof-", AWSPartition(id: "aws-iso-f", suffix: "csp.hci.ic.gov", dualStackSuffix: "api.aws.hci.ic.gov")),
        ("us-iso-", AWSPartition(id: "aws-iso", suffix: "c2s.ic.gov", dualStackSuffix: "api.aws.ic.gov")),
        (
            "eu-isoe-",
            AWSPartition(id: "aws-iso-e", suffix: "cloud.adc-e.uk", dualStackSuffix: "api.cloud-aws.adc-e.uk")
        ),
        (
            "eusc-",
            AWSPartition(id: "aws-eusc", suffix: "amazonaws.eu", dualStackSuffix: "api.amazonwebservices.eu")
        ),
    ]

    private init(id: String, suffix: String, dualStackSuffix: String) {
        self.id = id
        self.suffix = suffix
        self.dualStackSuffix = dualStackSuffix
    }

    /// The partition of a region; of one that is not known, the commercial one.
    init(of region: HostLabel) {
        self = Self.others.first { region.text.hasPrefix($0.regions) }?.partition ?? Self.commercial
    }
}

extension HostLabel {
    /// A region, as a label of Amazon's hosts.
    ///
    /// - Throws: `CacheError` `.invalidSpec` if it is not a label.
    init(region: some StringProtocol) throws(CacheError) {
        try self.init(region, as: "region", example: "eu-west-1")
    }

    /// A part of a host that Amazon gives its own names, as `s3-fips`.
    init(service: String) throws(CacheError) {
        try self.init(service, as: "service", example: "s3")
    }
}
