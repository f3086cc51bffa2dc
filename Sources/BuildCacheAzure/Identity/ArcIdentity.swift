import BuildCacheBytes
import BuildCacheCore
import BuildCacheHTTP
import NIOCore
import NIOHTTP1

/// The identity of a machine outside of Azure that Azure Arc manages.
///
/// Its agent on this machine asks for a secret from a file that only some users can read, and names the file.
///
/// - Source: Azure Arc, "Authenticate against Azure resources with Azure Arc-enabled servers".
struct ArcIdentity: Sendable {
    /// The URL of the agent.
    let agent: ServiceURL
    let transport: HTTPTransport
    /// The directory that the agent writes its secrets to.
    var folder = "/var/opt/azcmagent/tokens"

    private static let secretLimit: Int64 = 4096

    /// The answer of the agent to a request for a token.
    ///
    /// - Throws: `CacheError` `.invalidSpec` for an agent on another machine, `.denied` for a file that is not one of the agent's and for one that
    ///   this user cannot read, `.corrupted` for an answer that is not a challenge.
    func response() async throws -> IncomingResponse {
        // The secret belongs to the agent of this machine.
        guard agent.isLoopback else {
            throw CacheError(
                .invalidSpec,
                "invalid IDENTITY_ENDPOINT: expected the agent of Azure Arc on this machine, not \(agent.host)")
        }
        var request = OutgoingRequest(
            .GET, try agent.adding([("api-version", "2020-06-01"), ("resource", AzureCredentials.resource)]),
            headers: ["Metadata": "true"])
        let challenge = try await transport.send(request)
        guard challenge.status == .unauthorized else { return challenge }
        let realm = challenge.headers.first(name: "WWW-Authenticate").flatMap(ArcIdentity.realm)
        await challenge.discard()
        guard let realm else {
            throw CacheError(
                .corrupted,
                "the agent of Azure Arc answers without a challenge: expected Basic realm=<file>; restart himds")
        }
        try request.credentials.set("Authorization", Secret("Basic " + (try await secret(in: realm))))
        return try await transport.send(request)
    }

    /// The file that a challenge names.
    private static func realm(_ challenge: String) -> String? {
        guard challenge.lowercased().hasPrefix("basic realm=") else { return nil }
        let value = challenge.dropFirst("basic realm=".count)
        return String(value.hasPrefix("\"") && value.hasSuffix("\"") ? value.dropFirst().dropLast() : value)
    }

    /// The secret in a file of the agent's, which is one line.
    private func secret(in path: String) async throws -> String {
        let name = path.split(separator: "/", omittingEmptySubsequences: false).last ?? ""
        // Any process can listen at a port: it must not get the contents of another file.
        guard path == "\(folder)/\(name)", name.hasSuffix(".key"), !name.hasPrefix("."),
            name.utf8.allSatisfy({ (0x21...0x7E).contains($0) })
        else {
            throw CacheError(
                .denied, "the agent of Azure Arc names the file \(path.quoted): expected \(folder)/<name>.key")
        }
        let bytes: [UInt8] = try await Workers.files.run {
            let file: OpenFile
            do throws(CacheError) { file = try OpenFile(reading: path) } catch {
                throw CacheError(
                    .denied,
                    "the secret of Azure Arc cannot be read: \(error.message); add this user to the group himds")
            }
            guard (1...ArcIdentity.secretLimit).contains(file.size) else {
                throw CacheError(
                    .denied, "\(path) has \(file.size) bytes: expected a secret of 1 to \(ArcIdentity.secretLimit)")
            }
            return Array(try file.read(0..<file.size).readableBytesView)
        }
        return String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isWhitespace).joined()
    }
}
