// Prints how long reading, selecting and writing a cache config takes, and how much memory.
//
//     swift run -c release graph-bench                 all sizes, 1 000 to 1 000 000 records
//     swift run -c release graph-bench 100000          one size
//     swift run -c release graph-bench 100000 codec    one measurement, in this process
//
// Each measurement has a process of its own: the peak of memory is one per process.

import BuildCache
import Foundation

let clock = ContinuousClock()

func seconds<Value>(_ body: () throws -> Value) rethrows -> (Value, Double) {
    let start = clock.now
    let value = try body()
    let duration = clock.now - start
    return (value, Double(duration.components.seconds) + Double(duration.components.attoseconds) / 1e18)
}

func print(_ count: Int, _ what: String, _ times: [(String, Double)]) {
    let total = times.reduce(0) { $0 + $1.1 }
    let parts = times.map { "\($0.0) \(String(format: "%.3f", $0.1))" }.joined(separator: "  ")
    print(
        "\(count) records  \(what): \(parts)  total \(String(format: "%.3f", total)) s  peak \(peakResidentMebibytes()) MiB"
    )
}

/// Decode, select, encode: what an import and an export do with a config.
///
/// `described` adds the descriptors of a manifest.
func measureCodec(_ count: Int, described: Bool) throws {
    let json = SyntheticConfig.json(records: count)
    let layers = described ? CacheConfigLayers.described(SyntheticConfig.descriptors(count)) : .undescribed
    let limits = CacheConfigLimits(maximumBytes: 1 << 30)
    let (graph, decode) = try seconds { try LayerGraph(decodingConfig: json, layers: layers, limits: limits) }
    let (selected, select) = seconds { graph.selected(.max) }
    let (encoded, encode) = try seconds { try selected.encodeConfig() }
    guard encoded.bytes.count > json.count / 2, graph.recordCount == count else {
        throw CacheError(.corrupted, "the graph lost records")
    }
    print(
        count, described ? "config with descriptors (\(json.count) bytes)" : "config (\(json.count) bytes)",
        [("decode", decode), ("select", select), ("encode", encode)])
}

/// Adding record by record, as a build tool does.
func measureBuilding(_ count: Int) throws {
    let (graph, build) = try seconds { () throws(CacheError) -> LayerGraph in
        var graph = LayerGraph()
        var records: [RecordID] = []
        var layer: LayerID?
        for number in 0..<count {
            let blob = Descriptor(mediaType: .layer(.gzip), digest: SyntheticConfig.digest("layer", number), size: 1)
            let top = try graph.addLayer(blob, on: number % 20 == 0 ? nil : layer)
            layer = top
            let links = SyntheticConfig.sources(of: number).map { Link(records[$0]) }
            records.append(
                try graph.addRecord(
                    SyntheticConfig.digest("record", number), inputs: links.isEmpty ? [] : [links],
                    results: [CacheResult(layer: top, createdAt: SyntheticConfig.createdAt(number))]))
        }
        return graph
    }
    let (least, select) = seconds { graph.selected(.min) }
    let (lookup, index) = seconds { CacheLookup(least) }
    guard try lookup.matches(SyntheticConfig.digest("record", 0)).count == 1 else {
        throw CacheError(.corrupted, "the graph lost records")
    }
    print(count, "graph", [("build", build), ("select min", select), ("index", index)])
}

func run(_ count: Int, _ what: String) throws {
    switch what {
    case "codec": try measureCodec(count, described: false)
    case "described": try measureCodec(count, described: true)
    case "build": try measureBuilding(count)
    default: throw CacheError(.invalidSpec, "\(what) is no measurement: codec, described or build")
    }
}

let arguments = CommandLine.arguments.dropFirst()
if let count = arguments.first.flatMap({ Int($0) }), let what = arguments.dropFirst().first {
    try run(count, what)
} else {
    let counts = arguments.first.flatMap { Int($0) }.map { [$0] } ?? [1_000, 10_000, 100_000, 1_000_000]
    for count in counts {
        for what in ["codec", "described", "build"] {
            let child = Process()
            child.executableURL = URL(fileURLWithPath: CommandLine.arguments[0])
            child.arguments = ["\(count)", what]
            try child.run()
            child.waitUntilExit()
        }
    }
}
