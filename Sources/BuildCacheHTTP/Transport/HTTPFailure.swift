package import BuildCacheCore
import NIOHTTP1

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

    /// The headers in which services tell the identifier of a request.
    static let requestIDs = ["x-amz-request-id", "x-ms-request-id", "x-github-request-id", "x-request-id"]

    init(
        _ request: String, status: HTTPResponseStatus, retryAfter: Duration?, said: ServiceFault, requestID: String?
    ) {
        self.status = Int(status.code)
        code = said.code
        let words = [said.code, said.message].compactMap { $0 }.joined(separator: ": ")
        // The usual words: those of the server may be any.
        let reason = HTTPResponseStatus(statusCode: Int(status.code)).reasonPhrase
        let message =
            "\(request) returned " + ["\(status.code)", words.isEmpty ? reason : words].joined(separator: " ")
        let retry: CacheError.Retry = isTransient(status) ? retryAfter.map { .notBefore($0) } ?? .worthwhile : .never
        var context = CacheError.Context()
        context.httpStatus = self.status
        context.serviceCode = said.code
        context.requestID = requestID.map { $0.oneLine.clipped(toBytes: 100) }
        error = CacheError(HTTPFailure.code(for: status), message, context: context, retry: retry)
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
        case 405, 406, 415: .unsupported
        case 400..<500: .rejected
        // A redirect that leads nowhere, and a success without what belongs to it.
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

/// The words of a service in the body of an error.
///
/// Registries write `{"errors":[{"code","message"}]}`, token servers and GitHub's cache one object with similar keys. Other text is
/// taken as it is. The words are clipped and hold no character that a terminal obeys.
struct ServiceFault {
    private(set) var code: String?
    private(set) var message: String?

    /// Bytes of each of the two.
    private static let longestText = 300

    private init() {}

    init(code: String?, message: String?) {
        self.code = code.flatMap(ServiceFault.printable)
        self.message = message.flatMap(ServiceFault.printable)
    }

    /// The code and the message in a body, neither clipped nor escaped.
    static func words(of body: [UInt8]) -> (code: String?, message: String?) {
        var found = ServiceFault()
        if body.first(where: { $0 > 0x20 }) == UInt8(ascii: "{") {
            let read = try? JSONReader.read(body, as: "error") { reader throws(CacheError) in
                var fault = ServiceFault()
                try fault.readObject(&reader)
                return fault
            }
            if let read { found = read }
        }
        if found.code == nil, found.message == nil {
            found.message = String(decoding: body.prefix(1000), as: UTF8.self)
        }
        return (found.code, found.message)
    }

    /// Reads the outer object, and the first of its `errors` that is an object with a code.
    private mutating func readObject(_ reader: inout JSONReader) throws(CacheError) {
        guard try reader.beginObject() else { return }
        while let key = try reader.nextKey() {
            guard case "errors" = key, reader.peek() == UInt8(ascii: "[") else {
                try readMember(key, &reader)
                continue
            }
            guard try reader.beginArray() else { continue }
            while try reader.nextElement() {
                guard code == nil, reader.peek() == UInt8(ascii: "{"), try reader.beginObject() else {
                    try reader.skipValue()
                    continue
                }
                while let key = try reader.nextKey() { try readMember(key, &reader) }
            }
        }
    }

    private mutating func readMember(_ key: JSONKey, _ reader: inout JSONReader) throws(CacheError) {
        let isText = reader.peek() == UInt8(ascii: "\"")
        switch key {
        case "code" where isText, "typeKey" where isText, "error" where isText: code = try reader.string()
        case "message" where isText, "msg" where isText, "details" where isText, "error_description" where isText:
            message = try reader.string()
        default: try reader.skipValue()
        }
    }

    /// One line without characters that a terminal obeys, `nil` if nothing is left.
    private static func printable(_ text: String) -> String? {
        let line = text.split { $0.isWhitespace || $0.isNewline }.joined(separator: " ")
        return line.isEmpty ? nil : line.oneLine.clipped(toBytes: longestText)
    }
}
