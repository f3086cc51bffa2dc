package import BuildCacheCore
import BuildCacheHTTP
import NIOSSL

/// The settings that all of Amazon's tools share: a variable, else the setting of the profile.
///
/// - Source: AWS SDKs and Tools Reference Guide, "Service-specific endpoints", "Dual-stack and FIPS endpoints", "General configuration".
struct AWSSettings: Sendable {
    private let environment: Environment
    private let profiles: SharedProfiles

    /// Reads the files that `environment` names.
    ///
    /// - Throws: `CacheError` `.denied`, `.unavailable`, `.limitExceeded`.
    static func read(_ environment: Environment) async throws -> AWSSettings {
        AWSSettings(environment: environment, profiles: try await SharedProfiles.read(environment))
    }

    /// The region of the variables, else of the profile.
    var region: String? { environment.first("AWS_REGION", "AWS_DEFAULT_REGION") ?? setting("region") }

    /// A file in PEM with the authorities to trust in place of the system's, and the name of the setting: `AWS_CA_BUNDLE`, else `ca_bundle`.
    private var authorities: (file: String, name: String)? {
        if let file = environment.first("AWS_CA_BUNDLE") { return (file, "AWS_CA_BUNDLE") }
        return setting("ca_bundle").map { ($0, "ca_bundle") }
    }

    /// The TLS settings with the authorities that the environment or the profile names, `nil` for the transport's.
    ///
    /// - Throws: `CacheError` `.invalidSpec` if the file has no certificates.
    func tls() throws(CacheError) -> TLSConfiguration? {
        guard let authorities else { return nil }
        return try TLSOptions.configuration(trustingOnly: authorities.file, as: authorities.name)
    }

    /// Whether the profile wants the bucket in the path: `addressing_style` of its `s3` settings.
    var usesPathStyle: Bool { profiles.nested["s3"]?["addressing_style"]?.lowercased() == "path" }

    /// The region that an access point's ARN names may be another than the client's; `nil` if neither a variable nor the profile says so.
    func usesARNRegion() throws(CacheError) -> Bool? {
        if let value = try flag("AWS_S3_USE_ARN_REGION", "s3_use_arn_region") { return value }
        // botocore has it among the settings of S3.
        guard let text = profiles.nested["s3"]?["use_arn_region"] else { return nil }
        return try AWSSettings.boolean(text, "use_arn_region")
    }

    /// A text that is not empty.
    func text(_ variable: String, _ name: String) -> String? { environment.first(variable) ?? setting(name) }

    /// The places of a service.
    ///
    /// - Parameter service: As in `s3` and `sts`.
    /// - Throws: `CacheError` `.invalidSpec` for a text that is not a URL or not a boolean, and for a missing `services` section.
    func endpoints(of service: String) throws(CacheError) -> EndpointSettings {
        EndpointSettings(
            configured: try configured(service),
            usesFIPS: try flag("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint") ?? false,
            usesDualStack: try flag("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint") ?? false)
    }

    /// The URL that the owner of the machine names: a variable of the service, a variable of all services, the profile's section for the
    /// service, the profile.
    private func configured(_ service: String) throws(CacheError) -> EndpointSettings.Configured? {
        let ignores = try flag("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "ignore_configured_endpoint_urls") ?? false
        guard !ignores else { return nil }
        for variable in ["AWS_ENDPOINT_URL_" + service.uppercased(), "AWS_ENDPOINT_URL"] {
            if let text = environment.first(variable) { return try .init(text, name: variable) }
        }
        if let name = setting("services") {
            // Falling back to Amazon would sign requests there with the keys of another service.
            guard let services = profiles.services[name] else {
                throw CacheError(
                    .invalidSpec,
                    "the profile \(profiles.selected.quoted) names services \(name.quoted), which no section describes: add "
                        + "[services \(name)] or remove it")
            }
            if let text = services[service]?["endpoint_url"], !text.isEmpty {
                return try .init(text, name: "endpoint_url of services \(name)")
            }
        }
        guard let text = setting("endpoint_url") else { return nil }
        return try .init(text, name: "endpoint_url of the profile \(profiles.selected)")
    }

    private func flag(_ variable: String, _ name: String) throws(CacheError) -> Bool? {
        if let text = environment.first(variable) { return try AWSSettings.boolean(text, variable) }
        return try setting(name).map { text throws(CacheError) in try AWSSettings.boolean(text, name) }
    }

    private static func boolean(_ text: String, _ name: String) throws(CacheError) -> Bool {
        switch text.lowercased() {
        case "true": return true
        case "false": return false
        default: throw CacheError(.invalidSpec, "invalid \(name) \(text.quoted): expected true or false")
        }
    }

    private func setting(_ name: String) -> String? { profiles.current[name].flatMap { $0.isEmpty ? nil : $0 } }
}

/// The hosts of one of Amazon's services, as the owner of the machine wants them.
package struct EndpointSettings: Hashable, Sendable {
    /// A URL that the environment or the profile names.
    package struct Configured: Hashable, Sendable {
        package let url: ServiceURL
        /// The variable or setting that it comes from.
        package let name: String

        /// - Throws: `CacheError` `.invalidSpec` if it is not the URL of a service.
        package init(_ text: String, name: String) throws(CacheError) {
            do { url = try ServiceURL(text) } catch {
                throw CacheError(.invalidSpec, "invalid \(name): \(error.message)")
            }
            self.name = name
        }
    }

    /// The URL in place of Amazon's.
    package var configured: Configured?
    /// Whether only hosts with validated cryptography are used.
    package var usesFIPS: Bool
    /// Whether hosts are used that have IPv6 addresses, too.
    package var usesDualStack: Bool

    package init(configured: Configured? = nil, usesFIPS: Bool = false, usesDualStack: Bool = false) {
        self.configured = configured
        self.usesFIPS = usesFIPS
        self.usesDualStack = usesDualStack
    }

    /// Refuses a URL that cannot be of the kind that is wanted.
    ///
    /// - Parameter name: As errors call the URL.
    /// - Throws: `CacheError` `.invalidSpec`.
    func check(custom name: String) throws(CacheError) {
        let wanted =
            usesFIPS
            ? "AWS_USE_FIPS_ENDPOINT or use_fips_endpoint"
            : usesDualStack ? "AWS_USE_DUALSTACK_ENDPOINT or use_dualstack_endpoint" : nil
        guard let wanted else { return }
        throw CacheError(
            .invalidSpec, "\(name) cannot be combined with \(wanted), which choose among Amazon's own hosts: remove one"
        )
    }

    /// Refuses FIPS in China, where Amazon has no such hosts.
    ///
    /// - Throws: `CacheError` `.unsupported`.
    func check(_ partition: AWSPartition) throws(CacheError) {
        guard usesFIPS, partition.id == "aws-cn" else { return }
        throw CacheError(.unsupported, "regions of China have no FIPS endpoints: unset AWS_USE_FIPS_ENDPOINT")
    }
}
