import AsyncHTTPClient
import NIOCore
import NIOHTTP1

/// Passes requests on to another server of this machine, as a proxy in front of a registry does.
package struct Forwarder: Sendable {
    private let address: String

    /// - Parameter address: As in `127.0.0.1:4711`.
    package init(to address: String) { self.address = address }

    package func respond(_ request: ServerRequest) async throws -> ServerResponse {
        let query = request.parameters.map { "\($0.name)=\(escaped($0.value))" }.joined(separator: "&")
        var message = HTTPClientRequest(url: "http://\(address)\(request.path)\(query.isEmpty ? "" : "?" + query)")
        message.method = .init(rawValue: request.method)
        // The registry writes addresses as the client sees them.
        message.headers.add(name: "Host", value: request.host)
        for (name, value) in request.headers where !["host", "content-length", "authorization"].contains(name) {
            message.headers.add(name: name, value: value)
        }
        let body = try await request.bytes()
        if !["GET", "HEAD"].contains(request.method) { message.body = .bytes(body) }
        let answer = try await HTTPClient.shared.execute(message, timeout: .seconds(60))
        let bytes = try await answer.body.collect(upTo: 1 << 30)
        var response = ServerResponse(Int(answer.status.code), body: Array(bytes.readableBytesView))
        for header in answer.headers where !["transfer-encoding", "connection"].contains(header.name.lowercased()) {
            if header.name.lowercased() == "content-length", request.method != "HEAD" { continue }
            response.headers.append((header.name, header.value))
        }
        return response
    }

    private func escaped(_ value: String) -> String {
        value.utf8.map { byte in
            let scalar = Unicode.Scalar(byte)
            return scalar.properties.isAlphabetic || ("0"..."9").contains(scalar)
                || "-._~".unicodeScalars.contains(scalar)
                ? String(scalar) : "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
        }.joined()
    }
}
