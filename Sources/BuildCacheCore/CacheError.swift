/// What went wrong with a cache: which kind of fault, what happened, to what, and whether another try is worth it.
///
/// Branch on ``code``, retry on ``retry``, show ``description`` to people. Secrets never get in here:
/// credentials are kept in ``Secret`` and signed URLs are cut before they reach a message.
public struct CacheError: Error, Sendable {
    /// The kind of fault.
    ///
    /// An open set: a code added later breaks nobody's `switch`.
    public struct Code: Hashable, Sendable, CustomStringConvertible {
        private enum Base: String {
            case invalidSpec, notFound, denied, corrupted, unavailable, unsupported, storageFull, busy, limitExceeded
            case occupied, rejected, untrusted
        }
        private let base: Base

        /// The caller's text or options are wrong.
        public static let invalidSpec = Code(base: .invalidSpec)
        /// Something named explicitly, by digest or name, is not there.
        public static let notFound = Code(base: .notFound)
        /// The store refused: 401, 403, EACCES, a read-only directory.
        public static let denied = Code(base: .denied)
        /// Digest, size or format of what was read is wrong.
        public static let corrupted = Code(base: .corrupted)
        /// The store cannot be reached or fails for now: network, 429, 5xx, input or output errors.
        public static let unavailable = Code(base: .unavailable)
        /// This backend, build or format cannot do that.
        public static let unsupported = Code(base: .unsupported)
        /// No room is left: ENOSPC, EDQUOT.
        public static let storageFull = Code(base: .storageFull)
        /// Another process, or another part of this one, holds the lock.
        public static let busy = Code(base: .busy)
        /// A document is larger or deeper than the limit set for it.
        public static let limitExceeded = Code(base: .limitExceeded)
        /// The name of an export leads to something that is not a cache, such as an image.
        public static let occupied = Code(base: .occupied)

        /// The service refused the request as wrong or in conflict: 400, 409, 422 and the like.
        public static let rejected = Code(base: .rejected)
        /// A document has no signature that the verification policy accepts, or a signer returned one that does not verify.
        public static let untrusted = Code(base: .untrusted)

        /// The code's name, as written in Swift.
        public var description: String { base.rawValue }
    }

    /// An operation of a cache.
    ///
    /// An open set: backends and programs may have others.
    public struct Operation: Hashable, Sendable, ExpressibleByStringLiteral, CustomStringConvertible {
        /// The name, as in `export`.
        public let name: String
        /// The name.
        public var description: String { name }

        /// Names an operation.
        public init(_ name: String) { self.name = name }
        /// Names an operation.
        public init(stringLiteral name: String) { self.name = name }

        /// Layers and documents are written.
        public static let export: Operation = "export"
        /// Documents are read.
        public static let `import`: Operation = "import"
        /// Names and blobs are removed.
        public static let prune: Operation = "prune"
        /// Names are listed.
        public static let list: Operation = "list"
        /// Documents and layers are read and checked.
        public static let verify: Operation = "verify"
        /// The text of a spec is read.
        public static let parse: Operation = "parse"
        /// Documents are signed.
        public static let sign: Operation = "sign"
        /// A layer is converted.
        public static let convert: Operation = "convert"
    }

    /// One of the two sides of an export or a copy.
    @nonexhaustive
    public enum Side: String, Hashable, Sendable {
        /// The layers or the cache that are read.
        case source
        /// The store that is written.
        case destination
    }

    /// The place and the circumstances of a fault, as far as they are known.
    public struct Context: Hashable, Sendable {
        /// The backend's type, as in `type=local`.
        public var backend: String?
        /// The operation that failed.
        public var operation: Operation?
        /// A digest, a name or a file: the subject of the operation.
        public var subject: String?
        /// The side that is to blame, of an export or a copy.
        public var side: Side?
        /// The status of an HTTP response.
        public var httpStatus: Int?
        /// The service's own name of the fault, such as `SlowDown` or `MANIFEST_UNKNOWN`.
        public var serviceCode: String?
        /// The service's identifier of the request, for its support.
        public var requestID: String?
        /// The number of attempts that failed, if there were several.
        public var attempts: Int?

        /// Creates a context.
        public init(backend: String? = nil, operation: Operation? = nil, subject: String? = nil, side: Side? = nil) {
            self.backend = backend
            self.operation = operation
            self.subject = subject
            self.side = side
        }
    }

    /// Whether the same call may succeed later.
    @nonexhaustive
    public enum Retry: Hashable, Sendable {
        /// It fails the same way each time.
        case never
        /// It may pass.
        case worthwhile
        /// It may pass, after this long.
        case notBefore(Duration)
        /// It was tried as often as allowed.
        case exhausted
    }

    /// The kind of fault.
    public var code: Code
    /// What happened, why, and what to do, in one lower-case line.
    ///
    /// Control, format and bidirectional characters are escaped when it is set, and what is longer than 4096 bytes is cut: it may hold
    /// text from outside.
    public var message: String { didSet { message = message.clippedLine } }
    /// Where it happened.
    public var context: Context
    /// Whether the same call may succeed later.
    public var retry: Retry
    /// The error underneath, if there is one.
    public var cause: (any Error)?

    /// Makes an error; `message` is one lower-case line: what, why, remedy.
    public init(
        _ code: Code, _ message: String, context: Context = Context(), retry: Retry = .never, cause: (any Error)? = nil
    ) {
        self.code = code
        self.message = message.clippedLine
        self.context = context
        self.retry = retry
        self.cause = cause
    }

    /// The same error with the blanks of its context filled in.
    ///
    /// What is set already stays: the innermost layer knows best.
    public func adding(
        backend: String? = nil, operation: Operation? = nil, subject: String? = nil, side: Side? = nil
    ) -> CacheError {
        var error = self
        error.context.side = context.side ?? side
        error.context.backend = context.backend ?? backend
        error.context.operation = context.operation ?? operation
        error.context.subject = context.subject ?? subject
        return error
    }
}

extension CacheError: CustomStringConvertible, CustomDebugStringConvertible {
    /// One line, as in `local export sha256:9f86…: corrupted: the blob has 12 bytes instead of 40`.
    public var description: String {
        let place = [context.backend, context.operation?.name, context.subject].compactMap { $0 }.joined(separator: " ")
        // Places and messages hold text from outside, which must not forge a second line of a log.
        return place.isEmpty ? "\(code): \(message)" : "\(place.clippedLine): \(code): \(message)"
    }

    /// The line of ``description``, then one line per cause.
    public var debugDescription: String {
        var lines = [description]
        var next = cause
        while let error = next, lines.count < 16 {
            // The error of another type may hold anything, also a line break.
            lines.append("  caused by \("\(error)".oneLine.clipped(toBytes: 2000))")
            next = (error as? CacheError)?.cause
        }
        return lines.joined(separator: "\n")
    }
}

extension String {
    /// One line of at most 4096 bytes.
    fileprivate var clippedLine: String { oneLine.clipped(toBytes: 4096) }
}
