// What mode=min and mode=max take of a build in two stages: `tools` is built first, and `app` copies one file out of it.
//
//     swift run min-versus-max
//
//     step        min      max
//     sources     key      key
//     compile     key      result
//     copy        result   result
//     test        result   result
//
// A step with its result need not run again. One with its key alone must run if what follows it changes, but is recognised.
import BuildCache

@main
struct MinVersusMax {
    static func main() throws {
        var graph = LayerGraph()
        var names: [Digest: String] = [:]
        func step(_ name: String, on inputs: [RecordID], layer parent: LayerID?) throws -> (RecordID, LayerID) {
            let key = Digest.record(operation: Digest(of: name.utf8), output: 0)
            names[key] = name
            let layer = try graph.addLayer(PendingLayer(name: name) { try await .file(at: "\(name).tar") }, on: parent)
            let result = CacheResult(layer: layer, createdAt: .now())
            return (try graph.addRecord(key, inputs: inputs.map { [Link($0)] }, results: [result]), layer)
        }
        let sources = try graph.addRecord(.record(content: Digest(of: "the files".utf8)))
        names[try graph[sources].digest] = "sources"
        // The first stage has layers of its own, which are not in the image.
        let (compiled, _) = try step("compile", on: [sources], layer: nil)
        // The image is the chain of the second stage.
        let (copied, base) = try step("copy", on: [compiled], layer: nil)
        let (tested, _) = try step("test", on: [copied], layer: base)
        try graph.setTargets([tested])

        let (min, max) = (graph.selected(.min), graph.selected(.max))
        print(row("step", "min", "max"))
        for id in graph.recordIDs {
            let key = try graph[id].digest
            print(row(names[key] ?? "", try taken(key, of: min), try taken(key, of: max)))
        }
    }

    /// What a selection has of a step.
    private static func taken(_ key: Digest, of graph: LayerGraph) throws -> String {
        guard let id = try graph.recordIDs.first(where: { try graph[$0].digest == key }) else { return "nothing" }
        return try graph[id].results.isEmpty ? "key" : "result"
    }

    private static func row(_ step: String, _ min: String, _ max: String) -> String {
        func column(_ text: String, _ width: Int) -> String { text + String(repeating: " ", count: width - text.count) }
        return column(step, 12) + column(min, 9) + max
    }
}
