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

    init(from reader: inout AttributeReader) throws(CacheError) {
        let text = try reader.required("ref")
        do { ref = try Reference(text) } catch { throw reader.fault(error.message) }
        insecure = try reader.bool("registry.insecure", default: false)
    }

    func write(to writer: inout AttributeWriter) {
        writer.text("ref", ref.familiar)
        writer.flag("registry.insecure", insecure)
    }
}
