package import BuildCacheCore
package import BuildCacheHTTP
import Logging
import NIOCore
import NIOHTTP1

/// The role of the EC2 instance that this runs on, from its metadata service.
///
/// Only the service's second version is spoken to, which asks for a token first.
///
/// - Source: AWS, "Use the Instance Metadata Service"; `Documentation/Spec/backends.md` §5.5.
package struct InstanceCredentials: Sendable {
    private let environment: Environment
    private let transport: HTTPTransport

    /// Looks in `environment`, asks through `transport`, with a patience of a second.
    package init(_ environment: Environment = .process, transport: HTTPTransport = .shared) {
        self.environment = environment
        var transport = transport
        // Elsewhere nobody answers at that address, and nobody should wait long for it.
        transport.stallTimeout = .seconds(1)
        transport.responseTimeout = .seconds(1)
        transport.retry = RetryPolicy(attempts: 2, firstPause: .milliseconds(100))
        self.transport = transport
    }

    /// What the role of the instance may do, `nil` where nobody answers or `AWS_EC2_METADATA_DISABLED` is `true`.
    package func credentials(region: String) async throws -> AWSCredentials? {
        if environment.first("AWS_EC2_METADATA_DISABLED")?.lowercased() == "true" { return nil }
        let base = try endpoint()
        let token: String
        do {
            token = try await answer(
                .PUT, base, "/latest/api/token", headers: ["X-Aws-Ec2-Metadata-Token-Ttl-Seconds": "300"])
        } catch let error as CacheError where error.code != .invalidSpec {
            transport.logger.debug("no metadata service responds", metadata: ["error": "\(error.description)"])
            return nil
        }
        let path = "/latest/meta-data/iam/security-credentials/"
        let role: String
        do {
            role = try await answer(.GET, base, path, token: token)
        } catch let error as CacheError where error.code == .notFound {
            return nil
        }
        // One role per instance; the answer has a line for each all the same.
        guard let name = role.split(whereSeparator: \.isNewline).first else { return nil }
        // Checked because it becomes part of a URL that is logged, and another text may hold a secret.
        guard name.isRoleName else {
            throw CacheError(
                .corrupted,
                "the metadata service does not give a valid name of a role: expected 1 to 64 letters, digits and +=,.@_-"
            )
        }
        let text = try await answer(.GET, base, path + String(name).percentEncoded, token: token)
        let values = try JSONText.values(Array(text.utf8), "the metadata service")
        guard values["code"] ?? "Success" == "Success" else {
            throw CacheError(
                .denied, "the metadata service has no credentials for the role \(name.quoted) of this instance")
        }
        return try AWSCredentials(from: "the metadata service") { values[$0.lowercased()] }
    }

    private func endpoint() throws(CacheError) -> ServiceURL {
        let isIPv6 = environment.first("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE")?.lowercased() == "ipv6"
        let text =
            environment.first("AWS_EC2_METADATA_SERVICE_ENDPOINT")
            ?? (isIPv6 ? "http://[fd00:ec2::254]" : "http://169.254.169.254")
        do { return try ServiceURL(text) } catch {
            throw CacheError(.invalidSpec, "invalid AWS_EC2_METADATA_SERVICE_ENDPOINT: \(error.message)")
        }
    }

    private func answer(
        _ method: HTTPMethod, _ base: ServiceURL, _ path: String, headers: HTTPHeaders = [:], token: String? = nil
    ) async throws -> String {
        var request = OutgoingRequest(method, try base.appending(path), headers: headers)
        if let token { try request.credentials.set("X-Aws-Ec2-Metadata-Token", Secret(token)) }
        if method == .PUT { request.headers.add(name: "Content-Length", value: "0") }
        let response = try await transport.send(request)
        guard response.status == .ok else { throw await response.failure().error }
        return String(decoding: try await response.collect(upTo: 64 << 10), as: UTF8.self)
    }
}

extension Substring {
    /// Whether it can name a role.
    ///
    /// - Source: AWS, "IAM and AWS STS quotas".
    fileprivate var isRoleName: Bool {
        (1...64).contains(utf8.count)
            && utf8.allSatisfy {
                (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0)
                    || "+=,.@_-".utf8.contains($0)
            }
    }
}
