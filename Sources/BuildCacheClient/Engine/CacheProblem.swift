public import BuildCacheCore

/// Something that went wrong without failing the call: a lost layer, a source that did not answer, a result that was left out.
///
/// Reports and receipts list all of them, and ``ProgressEvent/problem(_:)`` tells each as it comes. Branch on ``kind`` and ``code``, show
/// ``description`` to people.
public struct CacheProblem: Hashable, Sendable {
    /// The kind of trouble.
    @nonexhaustive
    public enum Kind: Hashable, Sendable {
        /// A cache names a layer that its store does not have.
        case lostLayer
        /// The bytes of a layer are not those of its digest.
        case damagedLayer
        /// A cache, or one of several under a name, cannot be read.
        case unreadableCache
        /// A cache was refused, because no signature of it is trusted.
        case refusedCache
        /// A result is not in the export, because one of its layers could not be read or made.
        case omittedResult
        /// An export wrote nothing, because the build had no results.
        case nothingToExport
        /// A destination could not be written.
        case failedExport
        /// A prune keeps blobs that it cannot prove to be unused.
        case keptBlobs
        /// Something that works and may surprise, such as a cache that BuildKit cannot import.
        case notice
    }

    /// The kind of trouble.
    public var kind: Kind
    /// The name of the source or destination; `nil` where a backend reports it, which has no name.
    public var endpoint: String?
    /// The digest, name or file that the problem is about.
    public var subject: String?
    /// What happened, why and what follows, in one lower-case line.
    public var message: String
    /// The code of the error underneath, if there is one.
    public var code: CacheError.Code?

    /// Creates a problem.
    public init(
        _ kind: Kind, _ message: String, endpoint: String? = nil, subject: String? = nil, code: CacheError.Code? = nil
    ) {
        self.kind = kind
        self.message = message
        self.endpoint = endpoint
        self.subject = subject
        self.code = code
    }

    /// Creates a problem of an error.
    ///
    /// - Parameters:
    ///   - kind: The kind of trouble.
    ///   - consequence: Comes before the error's text, as in "the cache counts as one without hits".
    ///   - error: What happened.
    ///   - endpoint: The name of the source or destination.
    public init(_ kind: Kind, _ consequence: String, because error: CacheError, endpoint: String? = nil) {
        self.init(
            kind, "\(consequence): \(error)", endpoint: endpoint, subject: error.context.subject, code: error.code)
    }

    /// This problem with the name of its endpoint filled in.
    package func adding(endpoint: String) -> CacheProblem {
        var problem = self
        problem.endpoint = self.endpoint ?? endpoint
        return problem
    }
}

extension CacheProblem: CustomStringConvertible {
    /// One line, as in `main: a layer is missing, …`.
    public var description: String { ((endpoint.map { "\($0): " } ?? "") + message).oneLine }
}
