package import BuildCacheCore
package import BuildCacheSpec
import NIOCore
import NIOHTTP1

/// A form that is sent to a token server: its fields may be passwords and tokens.
///
/// - Source: WHATWG URL, "application/x-www-form-urlencoded serializing".
package struct CredentialForm: Sendable {
    package static let contentType = "application/x-www-form-urlencoded"

    fileprivate let body: Secret<ByteBuffer>
    /// The SHA-256 of the body, for a signature over it.
    package let digest: Digest

    package init(_ fields: [(name: String, value: String)]) {
        let text = fields.map { "\($0.name)=\($0.value.percentEncoded)" }.joined(separator: "&")
        body = Secret(ByteBuffer(string: text))
        digest = Digest(of: text.utf8)
    }
}

extension OutgoingRequest {
    /// A POST of a form; a redirect to another origin is an error, because the body would go there.
    package init(posting form: CredentialForm, to url: ServiceURL) {
        self.init(.POST, url, headers: ["Content-Type": CredentialForm.contentType], body: .secret(form.body))
    }
}
