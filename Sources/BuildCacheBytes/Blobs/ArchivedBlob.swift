/// The cause of a `CacheError`: the object is there, and its storage class or tier keeps it from being read now.
///
/// Lifecycle rules of a bucket or an account move objects to such tiers. A layer in one counts as lost, and the next export that has its bytes
/// replaces it.
public struct ArchivedBlob: Error, Hashable, Sendable, CustomStringConvertible {
    /// The name of the storage class or tier, such as `GLACIER` or `Archive`.
    public let tier: String

    package init(tier: String) { self.tier = tier }

    /// As in `the object is in the archive tier GLACIER and cannot be read now`.
    public var description: String { "the object is in the archive tier \(tier) and cannot be read now" }
}
