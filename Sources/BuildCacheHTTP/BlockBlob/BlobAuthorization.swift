package import BuildCacheCore

/// The proof that a request to the storage service is allowed.
package protocol BlobAuthorization: Sendable {
    /// Whether the proof covers the time, so that a clock that is off makes it invalid.
    var signsTime: Bool { get }

    /// Adds the proof to `request`.
    func authorize(_ request: inout OutgoingRequest, now: Timestamp) async throws

    /// Forgets a token that the service has rejected, so that the next request gets another.
    ///
    /// - Returns: Whether there was one.
    func forgetToken() -> Bool

    /// Why a request may have been rejected, as the end of a message; empty if the status says it all.
    func advice(_ status: Int, _ code: String, _ url: ServiceURL, now: Timestamp) -> String
}

/// The proof is a signature in the URL, a *shared access signature*.
package struct SignedURL: BlobAuthorization {
    package init() {}

    package var signsTime: Bool { false }
    package func authorize(_ request: inout OutgoingRequest, now: Timestamp) async throws {}
    package func forgetToken() -> Bool { false }

    package func advice(_ status: Int, _ code: String, _ url: ServiceURL, now: Timestamp) -> String {
        guard status == 401 || status == 403 else { return "" }
        if let end = url.signatureEnd, end <= now {
            return "; the shared access signature ended at \(end), get a new one"
        }
        return "; the shared access signature does not allow this, or was made with another key"
    }
}

extension ServiceURL {
    /// Whether a shared access signature is part of the URL.
    package var isSigned: Bool { queryParameters.contains { $0.name == "sig" } }

    /// When the URL's signature ends, `nil` if it does not say.
    package var signatureEnd: Timestamp? {
        guard let text = queryParameters.first(where: { $0.name == "se" })?.value else { return nil }
        // A date alone is midnight.
        return try? Timestamp(text.contains("T") ? text : text + "T00:00:00Z")
    }
}
