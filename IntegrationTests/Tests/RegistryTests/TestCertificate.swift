@testable import TestServers
@testable import TestTools

/// A certificate that signs itself.
struct TestCertificate: Sendable {
    var certificate: String
    var key: String

    /// - Parameter names: The names of its owner, as in `IP:127.0.0.1`.
    static func make(_ name: String, in folder: String, for names: String) async throws -> TestCertificate {
        let made = TestCertificate(certificate: "\(folder)/\(name).pem", key: "\(folder)/\(name)-key.pem")
        _ = try await Tool.openssl.output(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-subj", "/CN=\(name)", "-addext", "subjectAltName=\(names)", "-keyout", made.key, "-out", made.certificate)
        return made
    }
}
