public import BuildCacheCore

/// The outcome of a verification: the caches that were checked, and all damage that was found.
///
/// Made by ``CacheImporter/verify(_:progress:)`` and ``PrunableBackend/verifyAll(_:progress:)``, which change nothing. An export replaces layers
/// that are missing, cut short or archived, and corrupted ones if its process has read them as layers of an imported cache.
public struct VerificationReport: Hashable, Sendable {
    /// The extent of a verification.
    @nonexhaustive
    public enum Depth: String, Hashable, Sendable, CaseIterable {
        /// Documents are read, and the store is asked for each layer and its size: a request for each layer at most.
        case presence
        /// Each layer is read as well, and its digest and diffID computed.
        case everyByte
    }

    /// A layer or document that a reader of the cache cannot use.
    public struct Damage: Hashable, Sendable {
        /// The kind of damage.
        @nonexhaustive
        public enum Kind: String, Hashable, Sendable, CaseIterable {
            /// Not in the store.
            case missing
            /// Fewer bytes are stored than the cache says.
            case cutShort
            /// The bytes are not those of the digest or of the diffID, or there are too many of them.
            case corrupted
            /// Stored in a tier that cannot be read now.
            case archived
            /// The store or a limit does not let it be read, or a document cannot be decoded.
            case unreadable
        }

        /// The names of all caches that need it, in order.
        public var names: [String]
        /// The digest of the layer or document; `nil` if a cache as a whole cannot be read.
        public var digest: Digest?
        /// The kind of damage.
        public var kind: Kind
        /// One line: what was found.
        public var message: String
    }

    /// The type of the backend, as in `type=local`.
    public var backend: String
    /// The extent of the verification.
    public var depth: Depth
    /// The names of the caches that were checked, those with damage among them.
    public var names: [String] = []
    /// The number of layers that were checked, each counted once.
    public var layerCount = 0
    /// Stored bytes of these layers, as the caches say.
    public var layerBytes: Int64 = 0
    /// The damage, by name and digest; empty if all is well.
    public var damaged: [Damage] = []
    /// Caches, or parts of them, that were not checked, and why.
    public var problems: [CacheProblem] = []

    /// Whether a reader can use all that was checked.
    public var isSound: Bool { damaged.isEmpty }

    init(_ backend: String, _ depth: Depth) {
        self.backend = backend
        self.depth = depth
    }
}

extension VerificationReport: CustomStringConvertible {
    /// A line for the whole, then one for each damage and each problem.
    public var description: String {
        let state = isSound ? "sound" : "\(damaged.count) damaged"
        let first = "\(names.count) caches, \(layerCount) layers, \(layerBytes) bytes: \(state)"
        return ([first] + damaged.map(\.description) + problems.map { "note: \($0)" }).joined(separator: "\n")
    }
}

extension VerificationReport.Damage: CustomStringConvertible {
    /// One line, as in `main: sha256:9f86…: cutShort: 12 of 40 bytes are stored`.
    public var description: String {
        let place = [names.isEmpty ? nil : names.joined(separator: ", "), digest?.description].compactMap { $0 }
        return (place + [kind.rawValue, message]).joined(separator: ": ").oneLine.clipped(toBytes: 4096)
    }
}
