import BuildCacheCore

/// What the events of one or several transfers add up to, as a progress bar shows it.
///
/// ```swift
/// var totals = ProgressTotals()
/// totals.add(event, of: endpoint.name)
/// print("\(totals.finishedLayers) of \(totals.layers) layers, \(totals.bytes) bytes")
/// ```
///
/// A value: whoever has events from several tasks takes a ``ProgressMeter``, which tells rates, too.
public struct ProgressTotals: Hashable, Sendable {
    private struct Key: Hashable {
        var transfer: String
        var digest: Digest
    }
    private struct Moving: Hashable {
        var size: Int64
        var passed: Int64 = 0
    }

    /// Layers that all transfers announced so far.
    public private(set) var layers = 0
    /// Stored bytes of these layers, as far as they were known beforehand; those that are converted or made come out otherwise.
    public private(set) var plannedBytes: Int64 = 0
    /// Those of ``layers`` that are where they should be.
    public private(set) var finishedLayers = 0
    /// Bytes of layers that moved so far; those of a try that broke off do not count.
    public var bytes: Int64 { movedBytes + moving.values.reduce(0) { $0 + $1.passed } }

    private var movedBytes: Int64 = 0
    private var moving: [Key: Moving] = [:]

    /// Nothing happened yet.
    public init() {}

    /// How much is done, from 0 to 1, each layer counting the same; never more than 1.
    ///
    /// Layers and not bytes, because how many bytes a layer has is not known before it is converted.
    public var fraction: Double {
        guard layers > 0 else { return 0 }
        let parts = moving.values.reduce(0.0) { sum, layer in
            sum + (layer.size > 0 ? min(1, Double(layer.passed) / Double(layer.size)) : 0)
        }
        return min(1, (Double(finishedLayers) + parts) / Double(layers))
    }

    /// Counts an event.
    ///
    /// - Parameters:
    ///   - event: What a backend reported.
    ///   - transfer: Tells apart transfers that may have layers in common, by the names of their endpoints.
    public mutating func add(_ event: ProgressEvent, of transfer: String = "") {
        switch event {
        case .planned(let layers, let bytes):
            self.layers += layers
            // Sizes are what some document says.
            let (sum, isTooLarge) = plannedBytes.addingReportingOverflow(bytes)
            plannedBytes = isTooLarge ? .max : sum
        case .started(let descriptor):
            moving[Key(transfer: transfer, digest: descriptor.digest)] = Moving(size: descriptor.size)
        case .advanced(let digest, let bytes):
            moving[Key(transfer: transfer, digest: digest)]?.passed = bytes
        case .finished(let digest, _), .verified(let digest, _):
            finishedLayers += 1
            movedBytes += moving.removeValue(forKey: Key(transfer: transfer, digest: digest))?.passed ?? 0
        case .converted, .published, .listedNames, .listedBlobs, .removedName, .removedBlob, .problem, .waiting: break
        }
    }
}
