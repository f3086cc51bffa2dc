public import BuildCacheCore

/// The options of `type=registry`.
///
/// - Source: `Documentation/Spec/spec-syntax.md` §4, registry.
public struct RegistryOptions: Hashable, Sendable {
    /// `ref`: the image that holds the cache.
    ///
    /// When importing it may be any image with an inline cache.
    public var ref: Reference
    /// `registry.insecure`: plain http is allowed and certificates are not verified.
    ///
    /// Default `false`.
    public var insecure: Bool

    /// Makes options.
    public init(ref: Reference, insecure: Bool = false) {
        self.ref = ref
        self.insecure = insecure
    }
}

extension RegistryOptions: OptionTable {
    static let table: [Option<RegistryOptions>] = [
        Option(\.ref, .both("ref", isRequired: true), .reference),
        Option(\.insecure, .both("registry.insecure"), .bool),
    ]

    var defaults: RegistryOptions { RegistryOptions(ref: ref) }

    init(from reader: inout AttributeReader) throws(CacheError) {
        self.init(ref: try reader.required("ref", .reference))
        try read(from: &reader)
    }

    func check(_ reader: inout AttributeReader) {}
}
