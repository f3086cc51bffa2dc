#if canImport(Darwin)
    import Darwin
#elseif canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// The environment variables that a spec may fall back to: the process's own, or others for a test or a daemon.
///
/// It holds credentials, so it shows none of its variables when printed or reflected.
public struct Environment: Sendable {
    private let lookup: @Sendable (String) -> String?

    /// Answers from `lookup`, `nil` for a variable that is not set.
    public init(_ lookup: @escaping @Sendable (String) -> String?) { self.lookup = lookup }

    /// Answers from `variables`.
    public init(_ variables: [String: String]) { lookup = { variables[$0] } }

    /// The value of a variable; `nil` when it is not set, which is not the same as empty.
    public subscript(name: String) -> String? { lookup(name) }

    /// The variables of this process, read when they are asked for.
    public static let process = Environment { name in getenv(name).map { String(cString: $0) } }

    /// No variables at all.
    public static let empty = Environment([:])
}

extension Environment: CustomStringConvertible, CustomReflectable {
    /// `Environment`, whatever is in it.
    public var description: String { "Environment" }
    /// A mirror without children.
    public var customMirror: Mirror { Mirror(self, children: [:]) }
}
