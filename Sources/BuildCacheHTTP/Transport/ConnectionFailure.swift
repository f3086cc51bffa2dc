import AsyncHTTPClient
import BuildCacheCore
import NIOCore
import NIOPosix
import NIOSSL
import Subprocess

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif
#if canImport(System)
    import System
#else
    import SystemPackage
#endif

extension CacheError {
    /// The error of a connection that failed, and whether another one may not.
    ///
    /// It has no cause but ``ConnectionRefused``: what another library says of itself may repeat a header or a body.
    ///
    /// - Parameter peer: The server or proxy that the connection was to lead to, if it was being made.
    init(connection error: any Error, _ request: String, to peer: ConnectionRefused? = nil) {
        if error.isRefusal, let refused = ConnectionRefused(error) ?? peer {
            self.init(
                .unavailable, "\(request): cannot connect: \(refused); start the server, or correct the address",
                retry: .worthwhile, cause: refused)
            return
        }
        let reason = shortDescription(of: error)
        switch error {
        case is Stall:
            self.init(.unavailable, "\(request): \(reason)", retry: .worthwhile)
        case let error as HTTPClientError where error.isFaultOfRequest:
            self.init(.invalidSpec, "\(request) cannot be sent: \(reason)")
        case is NIOSSLError, is BoringSSLError, is NIOSSLExtraError:
            self.init(
                .unavailable,
                "\(request): no secure connection: \(reason) (a registry with a certificate of its own needs its authority, in SSL_CERT_FILE or the host's settings)"
            )
        case is NIOConnectionError:
            self.init(.unavailable, "\(request): cannot connect: \(reason)", retry: .worthwhile)
        case let error as IOError:
            // A host that is named by its address gives these where others give an error of the connection.
            let isUnreachable = [EHOSTUNREACH, ENETUNREACH].contains(error.errnoCode)
            self.init(
                .unavailable, "\(request): \(isUnreachable ? "cannot connect" : "the connection broke"): \(reason)",
                retry: .worthwhile)
        default:
            self.init(.unavailable, "\(request): the connection broke: \(reason)", retry: .worthwhile)
        }
    }
}

/// The cause of a `CacheError` `.unavailable`: a host that is there, and no server at that port of it.
///
/// Such a request is tried four times within a few seconds, and not as often as others.
public struct ConnectionRefused: Error, Hashable, Sendable, CustomStringConvertible {
    /// The host, which may be that of a proxy.
    public let host: String
    /// The port.
    public let port: Int

    init(host: String, port: Int) { (self.host, self.port) = (host, port) }

    /// The host of an error that names it.
    fileprivate init?(_ error: any Error) {
        guard let error = error as? NIOConnectionError else { return nil }
        self.init(host: error.host, port: error.port)
    }

    /// As in `127.0.0.1:5000 refused the connection`.
    public var description: String {
        "\(host.contains(":") && !host.hasPrefix("[") ? "[\(host)]" : host):\(port) refused the connection"
    }
}

extension Error {
    /// Whether no address of a host takes connections.
    fileprivate var isRefusal: Bool {
        switch self {
        case let error as IOError: error.errnoCode == ECONNREFUSED
        case let error as NIOConnectionError:
            !error.connectionErrors.isEmpty
                && error.connectionErrors.allSatisfy { ($0.error as? IOError)?.errnoCode == ECONNREFUSED }
        default: false
        }
    }
}

/// An error of another library in words of our own.
///
/// Never its own text: that may repeat a header, a body, or an argument of a program, and with them a secret.
package func shortDescription(of error: any Error) -> String {
    switch error {
    case let error as CacheError: error.description
    case is CancellationError: "it was cancelled"
    case let stall as Stall:
        stall.moved == 0
            ? "no byte moved for \(stall.limit)" : "no more than \(stall.moved) bytes moved within \(stall.limit)"
    case let passed as TimeLimitPassed: "it took longer than \(passed.limit)"
    case let error as HTTPClientError: error.shortDescription.lowercased()
    case let error as NIOConnectionError: error.reason
    case let error as IOError: systemReason(error.errnoCode)
    case let error as SubprocessError:
        error.code == .executableNotFound
            ? "it is not an executable file" : error.underlyingError.map { systemReason($0.rawValue) } ?? "it failed"
    case let error as NIOSSLError: error.reason
    case let error as BoringSSLError: error.reason
    case let error as NIOSSLExtraError: error.reason
    default: "\(type(of: error))"
    }
}

private func systemReason(_ code: CInt) -> String { String(cString: strerror(code)).lowercased() }

extension HTTPClientError {
    /// Whether another try would change nothing.
    fileprivate var isFaultOfRequest: Bool {
        // The values are part of an error's identity, and secret.
        switch shortDescription {
        case HTTPClientError.invalidHeaderFieldNames([]).shortDescription,
            HTTPClientError.invalidHeaderFieldValues([]).shortDescription:
            true
        default:
            [.invalidURL, .emptyHost, .emptyScheme, .alreadyShutdown, .proxyAuthenticationRequired].contains(self)
        }
    }
}

extension NIOConnectionError {
    /// The first reason, which is the only one for most hosts.
    fileprivate var reason: String {
        if let failure = connectionErrors.first { return BuildCacheHTTP.shortDescription(of: failure.error) }
        return dnsAError ?? dnsAAAAError == nil ? "\(host):\(port)" : "\(host) has no address"
    }
}

extension NIOSSLError {
    fileprivate var reason: String {
        switch self {
        case .handshakeFailed(let error), .shutdownFailed(let error): error.reason
        case .noSuchFilesystemObject: "no such file"
        case .failedToLoadCertificate: "it is not a certificate in PEM"
        case .failedToLoadPrivateKey: "it is not a private key in PEM"
        case .noCertificateToValidate, .unableToValidateCertificate: "the certificate of the server is not valid"
        case .uncleanShutdown: "the connection was closed in the middle"
        default: "the TLS handshake failed"
        }
    }
}

extension BoringSSLError {
    /// Reasons of BoringSSL that tell what to do, in their words and in ours.
    private static let reasons = [
        ("CERTIFICATE_VERIFY_FAILED", "the certificate of the server is not trusted"),
        ("WRONG_VERSION_NUMBER", "the server does not speak TLS"),
        ("HTTP_REQUEST", "the server does not speak TLS"),
        ("UNSUPPORTED_PROTOCOL", "the server does not speak TLS 1.2 or later"),
        ("PROTOCOL_VERSION", "the server does not speak TLS 1.2 or later"),
        ("CERTIFICATE_REQUIRED", "the server wants a client certificate"),
        ("UNKNOWN_CA", "the server does not trust the client certificate"),
        ("HANDSHAKE_FAILURE", "the server refused the TLS handshake"),
    ]

    fileprivate var reason: String {
        switch self {
        case .sslError(let stack), .unknownError(let stack):
            // Looked through for known words, and not repeated.
            let text = "\(stack)"
            return BoringSSLError.reasons.first { text.contains($0.0) }?.1 ?? "the TLS handshake failed"
        case .zeroReturn, .syscallError: return "the server closed the connection"
        default: return "the TLS handshake failed"
        }
    }
}

extension NIOSSLExtraError {
    fileprivate var reason: String {
        self == .failedToValidateHostname || self == .serverHostnameImpossibleToMatch
            ? "the certificate is that of another host" : "the TLS handshake failed"
    }
}
