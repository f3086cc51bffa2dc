import Synchronization

/// A layer that exists but was never written as a blob: a snapshot, a directory, a mounted file system.
///
/// A pending layer belongs to the step that made it, and carries the recipe for its tar: an export asks for the bytes only if its
/// selection takes the layer. This is what `mode=max` means for a step whose layers were never written.
///
/// Two pending layers are equal only if one is a copy of the other. The name does not count, so layers of different steps never become
/// one, whatever they are called. Make a pending layer once, and use the value wherever the layer occurs.
///
/// - Source: `Documentation/Spec/layer-selection.md` §2, steps 5 to 8.
public struct PendingLayer: Sendable {
    /// A label for messages and progress.
    public let name: String
    /// The recipe for the tar, opaque here because this module knows no streams.
    package let recipe: any PendingLayerRecipe
    private let number: UInt64

    private static let lastNumber = Atomic<UInt64>(0)

    package init(name: String, recipe: any PendingLayerRecipe) {
        self.name = name
        self.recipe = recipe
        number = PendingLayer.lastNumber.wrappingAdd(1, ordering: .relaxed).newValue
    }
}

/// Makes the bytes of a pending layer.
package protocol PendingLayerRecipe: Sendable {}

extension PendingLayer: Hashable {
    /// Whether both are copies of one pending layer.
    public static func == (left: PendingLayer, right: PendingLayer) -> Bool { left.number == right.number }

    /// Hashes the identity, not the name.
    public func hash(into hasher: inout Hasher) { hasher.combine(number) }
}

extension PendingLayer {
    /// Text that tells this layer from all others of this process.
    package var identity: String { "\(number)" }
}
