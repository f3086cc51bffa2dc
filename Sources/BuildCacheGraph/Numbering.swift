import Synchronization

/// The stamps of the identifiers that a graph gave out.
///
/// An identifier is valid in the graph that made it and in copies of that graph. Copies that grow apart would give one index to different
/// things, so a graph that adds something while a copy of it exists begins a stretch of indices with a new stamp.
struct Numbering: Sendable {
    /// Shared by all copies of one graph, so that a graph can tell whether it has any.
    private final class Owner: Sendable {}
    private struct Stretch {
        var first: Int32
        var stamp: UInt32
    }

    private static let lastStamp = Atomic<UInt32>(0)

    private var owner = Owner()
    private var stretches = [Stretch(first: 0, stamp: Numbering.newStamp())]

    private static func newStamp() -> UInt32 { lastStamp.wrappingAdd(1, ordering: .relaxed).newValue }

    /// Prepares for an identifier of this index, the next one.
    mutating func willAdd(_ index: Int32) {
        guard !isKnownUniquelyReferenced(&owner) else { return }
        owner = Owner()
        stretches.append(Stretch(first: index, stamp: Numbering.newStamp()))
    }

    /// The stamp that identifiers of this index carry.
    func stamp(of index: Int32) -> UInt32 {
        var (low, high) = (0, stretches.count)
        // The last stretch that begins at or before the index; the first one begins at 0.
        while high - low > 1 {
            let middle = (low + high) / 2
            if stretches[middle].first <= index { low = middle } else { high = middle }
        }
        return stretches[low].stamp
    }
}
