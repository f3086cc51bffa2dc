import BuildCache
import ExampleSupport
import Foundation

/// The rows of a cache, numbered, and four ways to print them.
struct Listing: Encodable {
    struct Link: Encodable { var record: Int, selector: String? }
    struct Result: Encodable { var layer: Int, createdAt: String }
    struct Record: Encodable { var digest: String, inputs: [[Link]], results: [Result] }
    struct Layer: Encodable {
        var blob: String?, parent: Int?, size: Int64?, mediaType: String?, diffID: String?, createdAt: String?
    }
    struct Totals: Encodable { var records = 0, links = 0, results = 0, layers = 0, blobs = 0, bytes: Int64 = 0 }

    private(set) var records: [Record] = []
    private(set) var layers: [Layer] = []
    private(set) var totals = Totals()

    init(_ graph: LayerGraph) throws {
        let recordNumber = Dictionary(uniqueKeysWithValues: graph.recordIDs.enumerated().map { ($1, $0) })
        let layerNumber = Dictionary(uniqueKeysWithValues: graph.layerIDs.enumerated().map { ($1, $0) })
        records = try graph.recordIDs.map { try graph[$0] }.map { record in
            Record(
                digest: record.digest.description,
                inputs: record.inputs.map {
                    $0.map {
                        Link(record: recordNumber[$0.record] ?? -1, selector: $0.selector.isEmpty ? nil : $0.selector)
                    }
                },
                results: record.results.map {
                    Result(layer: layerNumber[$0.layer] ?? -1, createdAt: $0.createdAt.description)
                })
        }
        layers = try graph.layerIDs.map { id in
            let descriptor = try graph.descriptor(of: id)
            return Layer(
                blob: descriptor?.digest.description, parent: try graph[id].parent.flatMap { layerNumber[$0] },
                size: descriptor?.size,
                mediaType: descriptor?.mediaType.text, diffID: descriptor?.diffID?.description,
                createdAt: descriptor?.createdAt?.description)
        }
        totals.records = records.count
        totals.links = records.reduce(0) { $0 + $1.inputs.reduce(0) { $0 + $1.count } }
        totals.results = records.reduce(0) { $0 + $1.results.count }
        totals.layers = layers.count
        totals.blobs = graph.descriptors.count
        // Sizes are what the cache says: their sum may be more than a number holds.
        totals.bytes = graph.descriptors.values.reduce(0) { sum, descriptor in
            let (next, isTooLarge) = sum.addingReportingOverflow(descriptor.size)
            return isTooLarge ? .max : next
        }
    }

    func printText() {
        for (number, record) in records.enumerated() {
            let results = record.results.map { "layer \($0.layer), \(age($0.createdAt))" }.joined(separator: "; ")
            print(
                "record \(number)  \(record.digest.prefix(19))  \(record.inputs.count) inputs  \(results.isEmpty ? "no result" : "result: \(results)")"
            )
            for (input, links) in record.inputs.enumerated() {
                let alternatives = links.map {
                    "record \($0.record)" + ($0.selector.map { " (\(plain(String($0.prefix(19)))))" } ?? "")
                }
                print("  input \(input): \(alternatives.joined(separator: " or "))")
            }
        }
        for (number, layer) in layers.enumerated() {
            let parent = layer.parent.map { "on layer \($0)" } ?? "lowest"
            print(
                "layer \(number)  \(layer.blob?.prefix(19) ?? "pending")  \(size(layer.size ?? 0))  \(plain(layer.mediaType ?? "unknown"))  \(parent)  \(age(layer.createdAt))"
            )
        }
        print(
            "totals: \(totals.records) records, \(totals.links) links, \(totals.results) results, \(totals.layers) layers, "
                + "\(size(totals.bytes)) in \(totals.blobs) blobs")
    }

    func printMermaid() {
        print("flowchart BT")
        for (number, record) in records.enumerated() {
            let shape = record.results.isEmpty ? ("[", "]") : ("([", "])")
            print("  r\(number)\(shape.0)\"\(record.digest.dropFirst(7).prefix(12))\"\(shape.1)")
            for (input, links) in record.inputs.enumerated() {
                for link in links { print("  r\(number) -- \(input) --> r\(link.record)") }
            }
        }
    }

    func printDot() {
        print("digraph cache {")
        for (number, record) in records.enumerated() {
            print(
                "  r\(number) [label=\"\(record.digest.dropFirst(7).prefix(12))\"\(record.results.isEmpty ? "" : ", style=filled")];"
            )
            for (input, links) in record.inputs.enumerated() {
                for link in links { print("  r\(number) -> r\(link.record) [label=\"\(input)\"];") }
            }
        }
        print("}")
    }

    /// As in `3 days ago`, or nothing for an unknown time.
    private func age(_ text: String?) -> String {
        guard let text, let time = try? Timestamp(text), time != .zero else { return "" }
        let seconds = max(0, Timestamp.now().seconds - time.seconds)
        for (unit, length) in [("days", Int64(86_400)), ("hours", 3600), ("minutes", 60)] where seconds >= 2 * length {
            return "\(seconds / length) \(unit) ago"
        }
        return "\(seconds) seconds ago"
    }
}
