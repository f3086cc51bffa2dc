public import BuildCache
import Foundation

/// The graph of caches that must all be there; what is left out of them goes to standard error.
public func readGraph(of specs: [String], _ scratch: ScratchStore) async throws -> LayerGraph {
    let report = try await CacheClient(cacheFrom: specs, scratch: scratch).importCaches()
    for outcome in report.outcomes {
        guard let cache = try outcome.result.get() else {
            throw CacheError(.notFound, "\(outcome.source) has no cache yet")
        }
        for problem in cache.problems { FileHandle.standardError.write(Data("warning: \(problem)\n".utf8)) }
    }
    return report.graph
}

/// A value as JSON, with sorted keys.
public func json(_ value: some Encodable, pretty: Bool = true) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    if pretty { encoder.outputFormatting.insert(.prettyPrinted) }
    return String(decoding: try encoder.encode(value), as: UTF8.self)
}
