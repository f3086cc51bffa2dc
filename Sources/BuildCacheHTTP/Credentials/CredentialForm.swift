package import BuildCacheCore
import NIOCore
import NIOHTTP1

/// A form that is sent to a token server: its fields may be passwords and tokens.
///
/// - Source: WHATWG URL, "application/x-www-form-urlencoded serializing".
package struct CredentialForm: Sendable {
    package static let contentType = "application/x-www-form-urlencoded"

    let body: Secret<ByteBuffer>
    /// The values that are credentials.
    let secrets: Secret<[String]>
    /// The SHA-256 of the body, for a signature over it.
    package let digest: Digest

    /// Writes fields in their order, those with credentials last.
    package init(_ fields: [(name: String, value: String)], secrets: [(name: String, value: Secret<String>)]) {
        let values = secrets.map { (name: $0.name, value: $0.value.exposed) }
        self.secrets = Secret(values.map(\.value))
        let text = (fields + values).map { "\($0.name)=\($0.value.percentEncoded)" }.joined(separator: "&")
        body = Secret(ByteBuffer(string: text))
        digest = Digest(of: text.utf8)
    }
}

extension OutgoingRequest {
    /// A POST of a form; a redirect to another origin is an error, because the body would go there.
    package init(posting form: CredentialForm, to url: ServiceURL) {
        self.init(.POST, url, headers: ["Content-Type": CredentialForm.contentType], body: .form(form))
    }
}
