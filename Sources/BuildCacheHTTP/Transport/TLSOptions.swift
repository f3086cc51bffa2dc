import BuildCacheBytes
package import BuildCacheCore
import NIOCore
package import NIOSSL

/// The certificates that a server must have and that we show, for TLS 1.2 or later.
public struct TLSOptions: Hashable, Sendable {
    /// A certificate of ours and its key, as files in PEM.
    public struct ClientCertificate: Hashable, Sendable {
        /// The certificate, with those it is signed by.
        public var certificate: String
        /// Its private key.
        public var key: String

        /// Names the files.
        public init(certificate: String, key: String) {
            self.certificate = certificate
            self.key = key
        }
    }

    /// Whether certificates are checked.
    ///
    /// Default `true`.
    public var verifiesCertificates: Bool
    /// Files in PEM with authorities that are trusted beside the system's.
    public var authorities: [String]
    /// The certificate to show, if a server wants one.
    public var clientCertificate: ClientCertificate?

    /// Makes options; without arguments, those of the system.
    public init(
        verifiesCertificates: Bool = true, authorities: [String] = [], clientCertificate: ClientCertificate? = nil
    ) {
        self.verifiesCertificates = verifiesCertificates
        self.authorities = authorities
        self.clientCertificate = clientCertificate
    }

    /// The most bytes of a file in PEM, 4 MiB; bundles of authorities have a fourth of a MiB.
    private static let sizeLimit: Int64 = 4 << 20

    /// Reads the files, each a regular one of at most 4 MiB.
    ///
    /// - Parameter certificateFile: What is trusted in place of the system's authorities, `nil` for these.
    /// - Throws: `CacheError` `.invalidSpec` if a file does not exist, is not a regular one, is larger than that, or is not PEM.
    package func configuration(certificateFile: String?) throws(CacheError) -> TLSConfiguration {
        var configuration = TLSConfiguration.client
        if !verifiesCertificates { configuration.certificateVerification = .none }
        if let certificateFile { configuration.trustRoots = .file(certificateFile) }
        for file in authorities {
            let certificates = try TLSOptions.read(file, "certificate authority") {
                try NIOSSLCertificate.fromPEMBytes($0)
            }
            configuration.additionalTrustRoots.append(.certificates(certificates))
        }
        if let own = clientCertificate {
            let chain = try TLSOptions.read(own.certificate, "client certificate") {
                try NIOSSLCertificate.fromPEMBytes($0)
            }
            configuration.certificateChain = chain.map { .certificate($0) }
            let key = try TLSOptions.read(own.key, "client key") { try NIOSSLPrivateKey(bytes: $0, format: .pem) }
            configuration.privateKey = .privateKey(key)
        }
        return configuration
    }

    /// The configuration of connections to servers whose authorities are in a file, and nowhere else.
    ///
    /// - Parameters:
    ///   - file: Certificates in PEM.
    ///   - name: The setting that names the file, for errors.
    /// - Throws: `CacheError` `.invalidSpec` if the file does not exist, is not a regular one of at most 4 MiB, or has no certificates.
    package static func configuration(trustingOnly file: String, as name: String) throws(CacheError) -> TLSConfiguration
    {
        let found = try read(file, "certificates of \(name)") { try NIOSSLCertificate.fromPEMBytes($0) }
        guard !found.isEmpty else {
            throw CacheError(.invalidSpec, "\(name) \(file.quoted) has no certificates: expected a file in PEM")
        }
        var configuration = TLSConfiguration.client
        configuration.trustRoots = .file(file)
        return configuration
    }

    /// Reads a regular file in PEM of at most 4 MiB: a pipe or a device may have no end.
    ///
    /// - Throws: `CacheError` `.invalidSpec`.
    private static func read<Value>(
        _ file: String, _ name: String, _ body: ([UInt8]) throws -> Value
    ) throws(CacheError) -> Value {
        do {
            let open = try OpenFile(reading: file)
            guard open.size <= sizeLimit else {
                throw CacheError(.limitExceeded, "\(open.size) bytes are too many: expected at most \(sizeLimit)")
            }
            return try body(Array(try open.read(0..<open.size).readableBytesView))
        } catch {
            let reason = (error as? CacheError)?.message ?? shortDescription(of: error)
            throw CacheError(.invalidSpec, "cannot read the \(name) \(file.quoted): \(reason); name a file in PEM")
        }
    }
}

extension TLSConfiguration {
    /// The configuration that every connection begins with: TLS 1.2 or later, as in Go and BuildKit.
    static var client: TLSConfiguration {
        var configuration = makeClientConfiguration()
        configuration.minimumTLSVersion = .tlsv12
        return configuration
    }
}
