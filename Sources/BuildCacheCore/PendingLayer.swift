/// A layer that is known to exist but was never written as a blob: a snapshot, a directory, a mounted file system.
///
/// A graph holds it in a blob's place. An export asks for its tar only if the selection takes it: this is what `mode=max`
/// means for a step whose layers were never made.
///
/// - Source: `spec/layer-selection.md` §2, steps 5 to 8.
public struct PendingLayer: Hashable, Sendable {
    /// Tells this layer from all others of the same export; means something only to who makes its tar.
    public var name: String
    /// When the layer was made; becomes the annotation `buildkit/createdat`.
    public var createdAt: Timestamp?

    /// Makes a pending layer.
    public init(name: String, createdAt: Timestamp? = nil) {
        self.name = name
        self.createdAt = createdAt
    }
}
