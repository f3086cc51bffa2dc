import BuildCacheClient
import ExampleSupport

/// One build: asks the session for each step, and runs what no cache knows.
struct Build {
    private struct Done {
        var record: RecordID
        var layers: [CacheSession.ResultLayer]
        var files: [TarFile]
    }

    let session: CacheSession
    let scratch: ScratchStore
    private var done: [String: Done] = [:]

    init(_ session: CacheSession, _ scratch: ScratchStore) {
        self.session = session
        self.scratch = scratch
    }

    /// Finds or runs a step.
    mutating func perform(_ step: Step) async throws -> (isCached: Bool, note: String) {
        let inputs = step.inputs.compactMap { done[$0] }
        var links = inputs.map { [Link($0.record)] }
        if !step.files.isEmpty {
            // What is copied in is recognised by its content, wherever it lies.
            links.append([Link(try session.record(.record(content: Digest(of: Tar.write(step.files)))))])
        }
        let record = try session.record(.record(operation: Digest(of: step.operation.utf8), output: 0), inputs: links)

        // A hit only if its layers can be had: one that is gone or damaged is a miss.
        if let hit = try await session.fetch(record), let own = hit.layers.last {
            var tar: [UInt8] = []
            for try await chunk in try await scratch.openTar(of: own) { tar += chunk.readableBytesView }
            done[step.name] = Done(record: record, layers: hit.layers.map { .stored($0) }, files: Tar.read(tar))
            return (true, "\(size(own.size)) fetched and verified")
        }

        let files = step.make(step.files + inputs.flatMap(\.files))
        let below = step.startsFromNothing ? [] : inputs.first?.layers ?? []
        let layers = below + [.files(files, by: step.name)]
        try session.addResult(layers, to: record)
        done[step.name] = Done(record: record, layers: layers, files: files)
        let bytes = files.reduce(0) { $0 + $1.bytes.count }
        return (false, "made \(files.count) file\(files.count == 1 ? "" : "s"), \(size(Int64(bytes)))")
    }
}
