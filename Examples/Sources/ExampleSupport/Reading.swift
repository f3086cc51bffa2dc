public import BuildCacheClient
import Foundation

/// The graph of the sources of a client, which must all be there; problems go to standard error.
public func readGraph(from client: CacheClient) async throws -> LayerGraph {
    let report = try await client.importCaches()
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
