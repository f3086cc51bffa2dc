import BuildCache
import ExampleSupport
import NIOCore
import Synchronization

/// One build: asks the cache for each step, runs what it does not know, and notes both in a graph.
struct Build {
    private struct Done {
        /// The step in the new graph and in the known one, where it may be several records.
        var record: RecordID
        var known: [RecordID]
        var layer: LayerID
        var files: [TarFile]
    }

    private let known: ImportReport
    private let lookup: CacheLookup
    private(set) var graph = LayerGraph()
    private var done: [String: Done] = [:]
    private let tars = Tars()

    init(known: ImportReport) {
        self.known = known
        lookup = CacheLookup(known.graph)
    }

    /// Where an export finds the layers: in the caches that were read, or as tars of the steps that ran.
    var source: LayerSource { LayerSource(blobs: known.blobs) { [tars] layer in try tars.open(layer) } }

    /// Finds or runs a step.
    mutating func perform(_ step: Step) async throws -> (isCached: Bool, note: String) {
        let inputs = step.inputs.compactMap { done[$0] }
        let digest = Digest.record(operation: Digest(of: step.operation.utf8), output: 0)
        var links = inputs.map { [Link($0.record)] }
        var knownLinks = inputs.map { $0.known.map { Link($0) } }
        if !step.files.isEmpty {
            // What is copied in is recognised by its content, wherever it lies.
            let content = Digest.record(content: Digest(of: Tar.write(step.files)))
            links.append([Link(try graph.addRecord(content))])
            knownLinks.append(lookup.matches(content).map { Link($0) })
        }
        let parent = step.startsFromNothing ? nil : inputs.first?.layer

        let matches = lookup.matches(digest, inputs: knownLinks)
        for result in lookup.results(of: matches) {
            // A result counts only if its layer can be had: a blob that is gone or damaged is a miss.
            guard let descriptor = known.graph.descriptor(of: result.layer), let files = try? await fetch(descriptor)
            else { continue }
            let layer = try graph.addLayer(descriptor, on: parent)
            let record = try graph.addRecord(
                digest, inputs: links, results: [CacheResult(layer: layer, createdAt: result.createdAt)])
            done[step.name] = Done(record: record, known: matches, layer: layer, files: files)
            return (true, "\(size(descriptor.size)) fetched and verified")
        }

        let files = step.make(step.files + inputs.flatMap(\.files))
        let now = Timestamp.now()
        let layer = try graph.addLayer(tars.add(Tar.write(files), madeBy: step.name, at: now), on: parent)
        let record = try graph.addRecord(digest, inputs: links, results: [CacheResult(layer: layer, createdAt: now)])
        done[step.name] = Done(record: record, known: matches, layer: layer, files: files)
        return (
            false,
            "made \(files.count) file\(files.count == 1 ? "" : "s"), \(size(Int64(files.reduce(0) { $0 + $1.bytes.count })))"
        )
    }

    private func fetch(_ descriptor: Descriptor) async throws -> [TarFile] {
        var tar: [UInt8] = []
        for try await chunk in try await known.blobs.openTar(of: descriptor) { tar += chunk.readableBytesView }
        return Tar.read(tar)
    }
}

/// The tars of the steps that ran, until an export asks for them.
private final class Tars: Sendable {
    private let tars = Mutex<[PendingLayer: [UInt8]]>([:])

    func add(_ tar: [UInt8], madeBy step: String, at time: Timestamp) -> PendingLayer {
        let layer = PendingLayer(name: step, createdAt: time)
        tars.withLock { $0[layer] = tar }
        return layer
    }

    func open(_ layer: PendingLayer) throws -> BlobStream {
        guard let tar = tars.withLock({ $0[layer] }) else { throw CacheError(.notFound, "no step made \(layer.name)") }
        return BlobStream(ByteBuffer(bytes: tar))
    }
}
