package import BuildCacheCore
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

    /// Reads the files.
    ///
    /// - Parameter certificateFile: What is trusted in place of the system's authorities, `nil` for these.
    /// - Throws: `CacheError` `.invalidSpec` if a file does not exist or is not PEM.
    package func configuration(certificateFile: String?) throws(CacheError) -> TLSConfiguration {
        var configuration = TLSConfiguration.client
        if !verifiesCertificates { configuration.certificateVerification = .none }
        if let certificateFile { configuration.trustRoots = .file(certificateFile) }
        for file in authorities {
            let certificates = try read(file, "certificate authority") { try NIOSSLCertificate.fromPEMFile(file) }
            configuration.additionalTrustRoots.append(.certificates(certificates))
        }
        if let own = clientCertificate {
            let chain = try read(own.certificate, "client certificate") {
                try NIOSSLCertificate.fromPEMFile(own.certificate)
            }
            configuration.certificateChain = chain.map { .certificate($0) }
            let key = try read(own.key, "client key") { try NIOSSLPrivateKey(file: own.key, format: .pem) }
            configuration.privateKey = .privateKey(key)
        }
        return configuration
    }

    /// The configuration of connections to servers whose authorities are in a file, and nowhere else.
    ///
    /// - Parameters:
    ///   - file: Certificates in PEM.
    ///   - name: The setting that names the file, for errors.
    /// - Throws: `CacheError` `.invalidSpec` if the file does not exist or has no certificates.
    package static func configuration(trustingOnly file: String, as name: String) throws(CacheError) -> TLSConfiguration
    {
        let found: [NIOSSLCertificate]
        do { found = try NIOSSLCertificate.fromPEMFile(file) } catch {
            throw CacheError(
                .invalidSpec,
                "cannot read the certificates of \(name) \(file.quoted): \(shortDescription(of: error)); name a file in PEM"
            )
        }
        guard !found.isEmpty else {
            throw CacheError(.invalidSpec, "\(name) \(file.quoted) has no certificates: expected a file in PEM")
        }
        var configuration = TLSConfiguration.client
        configuration.trustRoots = .file(file)
        return configuration
    }

    private func read<Value>(_ file: String, _ what: String, _ body: () throws -> Value) throws(CacheError) -> Value {
        do { return try body() } catch {
            throw CacheError(.invalidSpec, "cannot read the \(what) \(file.quoted): \(shortDescription(of: error))")
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
