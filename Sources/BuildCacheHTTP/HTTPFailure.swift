import AsyncHTTPClient
package import BuildCacheCore
import BuildCacheJSON
import BuildCacheSpec
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// A response that is not what was asked for: the one place where status and body become a `CacheError`.
package struct HTTPFailure: Sendable {
    /// The status of the response.
    package let status: Int
    /// The service's own name of the fault, as `DENIED` or `MANIFEST_UNKNOWN`.
    package let code: String?
    /// The error to throw.
    package let error: CacheError

    /// The most of an error's body that is read.
    static let bodyLimit = 64 << 10

    init(_ request: String, status: HTTPResponseStatus, retryAfter: Duration?, said: ServiceFault) {
        self.status = Int(status.code)
        code = said.code
        let words = [said.code, said.message].compactMap { $0 }.joined(separator: ": ")
        var message = "\(request) returned \(status.code)"
        message += words.isEmpty ? " \(status.reasonPhrase)" : " \(words)"
        let retry: CacheError.Retry = isTransient(status) ? retryAfter.map { .notBefore($0) } ?? .worthwhile : .never
        error = CacheError(HTTPFailure.code(for: status), message, retry: retry)
    }

    private static func code(for status: HTTPResponseStatus) -> CacheError.Code {
        switch status.code {
        case 401, 403, 407, 451: .denied
        case 404, 410: .notFound
        case 413, 414, 431: .limitExceeded
        case 416: .corrupted
        case 507: .storageFull
        case 408, 425, 429: .unavailable
        case 501, 505: .unsupported
        case 500...: .unavailable
        // A redirect that leads nowhere, and whatever else the service does not like about the request.
        default: .unsupported
        }
    }
}

/// Whether the same request may pass a little later.
func isTransient(_ status: HTTPResponseStatus) -> Bool {
    switch status.code {
    case 408, 425, 429: true
    case 501, 505, 507, 511: false
    default: status.code >= 500
    }
}

/// What a service says in the body of an error.
///
/// Registries write `{"errors":[{"code","message"}]}`, token servers and GitHub's cache one object with similar keys. Other text is
/// taken as it is, as far as it prints.
struct ServiceFault {
    var code: String?
    var message: String?

    private static let longestText = 300

    private init() {}

    init(code: String?, message: String?) {
        self.code = code.flatMap(ServiceFault.printable)
        self.message = message.flatMap(ServiceFault.printable)
    }

    init(_ body: [UInt8]) {
        if body.first(where: { $0 > 0x20 }) == UInt8(ascii: "{") {
            let found = try? JSONReader.read(body, as: "error") { reader throws(CacheError) in
                var found = ServiceFault()
                try found.read(&reader)
                return found
            }
            if let found { self = found }
        }
        if code == nil, message == nil { message = String(decoding: body.prefix(1000), as: UTF8.self) }
        code = code.flatMap(ServiceFault.printable)
        message = message.flatMap(ServiceFault.printable)
    }

    private mutating func read(_ reader: inout JSONReader) throws(CacheError) {
        guard try reader.beginObject() else { return }
        while let key = try reader.nextKey() {
            let isText = reader.peek() == UInt8(ascii: "\"")
            switch key {
            case "errors" where reader.peek() == UInt8(ascii: "["):
                guard try reader.beginArray() else { continue }
                while try reader.nextElement() {
                    if code == nil, reader.peek() == UInt8(ascii: "{") {
                        try read(&reader)
                    } else {
                        try reader.skipValue()
                    }
                }
            case "code" where isText, "typeKey" where isText, "error" where isText: code = try reader.string()
            case "message" where isText, "msg" where isText, "details" where isText, "error_description" where isText:
                message = try reader.string()
            default: try reader.skipValue()
            }
        }
    }

    /// One line without control characters, `nil` if nothing is left.
    private static func printable(_ text: String) -> String? {
        let line = text.split { $0.isWhitespace || $0.isNewline }.joined(separator: " ")
        let visible = line.filter { $0.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x7F } }
        let clipped = visible.prefix(longestText)
        return clipped.isEmpty ? nil : clipped.count < visible.count ? clipped + "…" : String(clipped)
    }
}

extension CacheError {
    /// What went wrong with a connection, and whether another one may be luckier.
    init(connection error: any Error, _ request: String) {
        switch error {
        case let stall as Stall:
            self.init(.unavailable, "\(request): no byte moved for \(stall.limit)", retry: .worthwhile, cause: error)
        case let error as HTTPClientError where HTTPClientError.callersFaults.contains(error):
            self.init(.invalidSpec, "\(request) cannot be sent: \(error)", cause: error)
        case is NIOSSLError, is BoringSSLError, is NIOSSLExtraError:
            self.init(
                .unavailable,
                "\(request): no secure connection: \(error) (a registry with a certificate of its own needs its authority, in SSL_CERT_FILE or the host's settings)",
                cause: error)
        case let error as NIOConnectionError:
            self.init(
                .unavailable, "\(request): cannot connect: \(error.summary)", retry: .worthwhile, cause: error)
        case let error as IOError:
            // A host that is named by its address gives these where others give an error of the connection.
            let isRefusal = [ECONNREFUSED, EHOSTUNREACH, ENETUNREACH].contains(error.errnoCode)
            let reason = String(cString: strerror(error.errnoCode)).lowercased()
            self.init(
                .unavailable, "\(request): \(isRefusal ? "cannot connect" : "the connection broke"): \(reason)",
                retry: .worthwhile, cause: error)
        default:
            self.init(.unavailable, "\(request): the connection broke: \(error)", retry: .worthwhile, cause: error)
        }
    }
}

extension HTTPClientError {
    /// What no other try changes.
    fileprivate static let callersFaults: [HTTPClientError] = [
        .invalidURL, .emptyHost, .emptyScheme, .alreadyShutdown, .proxyAuthenticationRequired,
    ]
}

extension NIOConnectionError {
    /// The first reason, which is the only one for most hosts.
    fileprivate var summary: String {
        if let failure = connectionErrors.first { return "\(failure.error)" }
        return (dnsAError ?? dnsAAAAError).map { "\(host) has no address: \($0)" } ?? "\(host):\(port)"
    }
}
