public import BuildCacheCore

extension LayerGraph {
    /// The part of the graph that an export takes: every record that others can recognise, and the results that `mode` asks for.
    ///
    /// Starting from ``targets``, or without any from every record that no other links to, all records that led there are taken;
    /// ephemeral ones are not, nor what cannot be found without them. Then, going down from each target:
    ///
    /// - **max** takes the newest result of every record.
    /// - **min** takes the newest result of the first record on each way down that has one, and below it only results whose layers
    ///   are stored already or were just taken. So a step whose layers are part of the final image keeps its result too.
    ///
    /// A record without inputs keeps its results only if they came from a cache: a build makes none there. Of each record at most one
    /// result remains, and one that was made beats any that was imported. Pending layers in the selection are the ones the export has to make.
    ///
    /// The order of inputs matters in `min`, as it does in BuildKit: a record reached first below a taken result is not asked again.
    /// Every target is walked anew.
    ///
    /// - Source: `Documentation/Spec/layer-selection.md` §2 and §3; BuildKit `solver/exporter.go: ExportTo`.
    public func selected(_ mode: CacheMode) -> LayerGraph {
        var walk = SelectionWalk(self, mode: mode)
        if targets.isEmpty {
            // One walk for all leaves: they are as many as the steps that nothing was built on.
            walk.visit(leaves())
        } else {
            for target in targetIndices { walk.visit([target]) }
        }
        return rebuilt(keeping: walk.isTaken, result: { walk.takenResult[Int($0)] })
    }

    /// The records of ``targets``.
    private var targetIndices: [Int32] { targets.compactMap { knownIndex(of: $0) }.map { canonical($0) } }

    /// The records that no other links to.
    private func leaves() -> [Int32] {
        var isLinkedTo = [Bool](repeating: false, count: records.count)
        for record in records.indices where records[record].mergedInto < 0 {
            var cursor = LinkCursor(record: Int32(record))
            while let link = cursor.next(in: self) { isLinkedTo[Int(canonical(links[Int(link)].record))] = true }
        }
        return records.indices.filter { records[$0].mergedInto < 0 && !isLinkedTo[$0] }.map { Int32($0) }
    }

    /// A copy with these records only, without aliases and duplicate links, ordered, each with at most one result.
    ///
    /// `isTaken` must hold for every record only if each of its inputs has a link to another taken one.
    func rebuilt(keeping isTaken: [Bool], result: (Int32) -> Int32) -> LayerGraph {
        var copy = LayerGraph()
        var newRecord = [Int32](repeating: -1, count: records.count)
        var usedLayers = [Bool](repeating: false, count: layers.count)
        for record in recordsInOrder() where isTaken[Int(record)] {
            let node = records[Int(record)]
            let index = Int32(copy.records.count)
            newRecord[Int(record)] = index
            var new = RecordNode(
                digest: node.digest, importRow: node.importRow, nextAlias: index)
            new.firstInput = Int32(copy.inputs.count)
            new.inputCount = node.inputCount
            for input in 0..<node.inputCount {
                let first = Int32(copy.links.count)
                let place = inputs[Int(node.firstInput + input)]
                // One link, as nearly all inputs have, needs no memory of the others.
                var seen: Set<LinkKey>? = place.firstLink == place.lastLink ? nil : []
                for known in linkIndices(of: record, input: input) {
                    let source = newRecord[Int(canonical(links[known].record))]
                    let number = links[known].selector
                    let selector = number == 0 ? 0 : copy.selectors.number(of: selectors[number])
                    let isNew = seen?.insert(LinkKey(record: source, selector: selector)).inserted ?? true
                    // A link that is left out changes the record: its row no longer says where it belongs.
                    guard source >= 0, isNew else {
                        new.importRow = -1
                        continue
                    }
                    copy.links.append(LinkNode(record: source, selector: selector, next: Int32(copy.links.count + 1)))
                }
                let isEmpty = copy.links.count == Int(first)
                if !isEmpty { copy.links[copy.links.count - 1].next = -1 }
                copy.inputs.append(
                    isEmpty ? InputNode() : InputNode(firstLink: first, lastLink: Int32(copy.links.count - 1)))
            }
            let kept = result(record)
            if kept >= 0 {
                new.firstResult = Int32(copy.results.count)
                new.lastResult = new.firstResult
                var best = results[Int(kept)]
                best.next = -1
                copy.results.append(best)
                var layer = results[Int(kept)].layer
                while layer >= 0, !usedLayers[Int(layer)] {
                    usedLayers[Int(layer)] = true
                    layer = layers[Int(layer)].parent
                }
            }
            copy.records.append(new)
        }
        copy.takeLayers(of: self, where: usedLayers)
        copy.targets = targetIndices.compactMap { target in
            newRecord[Int(target)] < 0 ? nil : copy.recordID(newRecord[Int(target)])
        }
        // Records that became one may leave others behind that differed in nothing else.
        guard records.contains(where: { $0.mergedInto >= 0 }) else { return copy }
        copy.uniteEqualRecords()
        return copy.rebuilt(
            keeping: Array(repeating: true, count: copy.records.count), result: { [copy] in copy.bestResult(of: $0) })
    }

    /// Copies the used layers of `other`, parents first as they are, and renumbers those in the results.
    private mutating func takeLayers(of other: LayerGraph, where isUsed: [Bool]) {
        var newLayer = [Int32](repeating: -1, count: other.layers.count)
        for (index, node) in other.layers.enumerated() where isUsed[index] {
            var node = node
            newLayer[index] = Int32(layers.count)
            if node.parent >= 0 { node.parent = newLayer[Int(node.parent)] }
            if node.pending >= 0 {
                node.pending = number(of: other.pendingLayers[Int(node.pending)])
            }
            layers.append(node)
        }
        takeDescriptors(from: other.descriptors)
        for index in results.indices { results[index].layer = newLayer[Int(results[index].layer)] }
    }
}

/// The walk of a selection from the targets down to the roots, depth first and in the order of inputs and links.
private struct SelectionWalk {
    private enum Mode { case min, max, storedOnly }
    private struct Frame {
        var cursor: LinkCursor
        var mode: Mode
    }

    private let graph: LayerGraph
    private let mode: Mode
    /// Per layer: stored, or pending and taken, together with all below it.
    private var isAvailable: [Bool]
    private(set) var isTaken: [Bool]
    private(set) var takenResult: [Int32]

    init(_ graph: LayerGraph, mode: CacheMode) {
        self.graph = graph
        self.mode = mode == .min ? .min : .max
        isTaken = Array(repeating: false, count: graph.records.count)
        takenResult = Array(repeating: -1, count: graph.records.count)
        isAvailable = []
        isAvailable.reserveCapacity(graph.layers.count)
        for layer in graph.layers {
            isAvailable.append(layer.pending < 0 && (layer.parent < 0 || isAvailable[Int(layer.parent)]))
        }
    }

    /// Walks from all of `starts` with one memory of what was visited.
    mutating func visit(_ starts: [Int32]) {
        var isVisited = [Bool](repeating: false, count: graph.records.count)
        var stack: [Frame] = []
        for start in starts where !isVisited[Int(start)] {
            isVisited[Int(start)] = true
            stack.append(Frame(cursor: LinkCursor(record: start), mode: enter(start, mode)))
            while var frame = stack.popLast() {
                guard let link = frame.cursor.next(in: graph) else {
                    leave(frame.cursor.record)
                    continue
                }
                stack.append(frame)
                let source = graph.canonical(graph.links[Int(link)].record)
                if !isVisited[Int(source)] {
                    isVisited[Int(source)] = true
                    stack.append(Frame(cursor: LinkCursor(record: source), mode: enter(source, frame.mode)))
                }
            }
        }
    }

    /// Takes the record's result as the mode says, and returns the mode for its inputs.
    private mutating func enter(_ record: Int32, _ mode: Mode) -> Mode {
        let node = graph.records[Int(record)]
        guard !node.isEphemeral else { return mode }
        let result = graph.bestResult(of: record) { index in
            let result = graph.results[Int(index)]
            return (node.inputCount > 0 || result.isImported)
                && (mode != .storedOnly || isAvailable[Int(result.layer)])
        }
        guard result >= 0 else { return mode }
        takenResult[Int(record)] = result
        var layer = graph.results[Int(result)].layer
        while layer >= 0, !isAvailable[Int(layer)] {
            isAvailable[Int(layer)] = true
            layer = graph.layers[Int(layer)].parent
        }
        return mode == .min ? .storedOnly : mode
    }

    /// Takes the record itself if every input can be found by others.
    private mutating func leave(_ record: Int32) {
        let node = graph.records[Int(record)]
        isTaken[Int(record)] =
            !node.isEphemeral
            && (0..<node.inputCount).allSatisfy { input in
                graph.linkIndices(of: record, input: input).contains {
                    isTaken[Int(graph.canonical(graph.links[$0].record))]
                }
            }
    }
}
