package import BuildCacheCore
package import BuildCacheHTTP
import NIOHTTP1

/// The role of the container that this runs in: `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` or `…_FULL_URI`, as in ECS and EKS.
///
/// - Source: AWS, "Container credential provider"; `Documentation/Spec/backends.md` §5.5.
package struct ContainerCredentials: Sendable {
    private let environment: Environment
    private let transport: HTTPTransport

    /// Where containers find it in ECS; the others are those of EKS.
    private static let host = "169.254.170.2"
    private static let hosts = [host, "169.254.170.23", "[fd00:ec2::23]"]

    /// Looks in `environment`, asks through `transport`.
    package init(_ environment: Environment = .process, transport: HTTPTransport = .shared) {
        self.environment = environment
        var transport = transport
        transport.stallTimeout = .seconds(5)
        self.transport = transport
    }

    /// What the role of the container may do, `nil` without the variables.
    ///
    /// - Throws: `CacheError` `.invalidSpec` if the address would carry a token in the clear to somewhere else.
    package func credentials(region: String) async throws -> AWSCredentials? {
        guard let url = try url() else { return nil }
        var request = OutgoingRequest(.GET, url)
        if let token = try await token() { try request.credentials.set("Authorization", Secret(token)) }
        let response = try await transport.send(request)
        guard response.status == .ok else { throw await response.failure().error }
        let source = "the credentials service of this container"
        let values = try JSONText.values(try await response.collect(upTo: 64 << 10), source)
        return try AWSCredentials(from: source) { values[$0.lowercased()] }
    }

    func url() throws(CacheError) -> ServiceURL? {
        if let path = environment.first("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
            return try parse("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") { () throws(CacheError) in
                try ServiceURL(scheme: "http", [], in: ContainerCredentials.host).appending(path)
            }
        }
        guard let text = environment.first("AWS_CONTAINER_CREDENTIALS_FULL_URI") else { return nil }
        let url = try parse("AWS_CONTAINER_CREDENTIALS_FULL_URI") { () throws(CacheError) in try ServiceURL(text) }
        guard url.scheme == "https" || url.isLoopback || ContainerCredentials.hosts.contains(url.host) else {
            throw CacheError(
                .invalidSpec, "AWS_CONTAINER_CREDENTIALS_FULL_URI leads to \(url.host) without encryption: use https")
        }
        return url
    }

    private func parse(
        _ variable: String, _ make: () throws(CacheError) -> ServiceURL
    ) throws(CacheError) -> ServiceURL {
        do { return try make() } catch { throw CacheError(.invalidSpec, "invalid \(variable): \(error.message)") }
    }

    private func token() async throws -> String? {
        guard let file = environment.first("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") else {
            return environment.first("AWS_CONTAINER_AUTHORIZATION_TOKEN")
        }
        let token = try await SharedProfiles.read(file)
        guard !token.isEmpty, !token.contains(where: { $0.isNewline }) else {
            throw CacheError(.denied, "there is no token of one line in \(file), where it should be")
        }
        return token
    }
}
