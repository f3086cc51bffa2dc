package import BuildCacheBytes
package import BuildCacheCore
import BuildCacheGraph
import BuildCacheClient
import NIOCore

extension BackendConformance {
    /// All promises.
    public static let checks: [Check] = [
        Check("has no cache before the first export") { try await $0.isEmptyAtFirst() },
        Check("gives back the graph that was exported") { try await $0.givesBackGraph() },
        Check("gives back the bytes of every layer, whole and in part") { try await $0.givesBackLayers() },
        Check("holds a cache of 200 layers") { try await $0.holdsManyLayers() },
        Check("transfers nothing when the same cache is exported again") { try await $0.transfersOnce() },
        Check("holds the cache that was exported last") { try await $0.lastExportWins() },
        Check("keeps the cache when an export has no layers") { try await $0.keepsCacheWithoutLayers() },
        Check("makes with mode=max what mode=min leaves alone") { try await $0.honoursMode() },
        Check("compresses new layers as it is told, and all of them if forced") { try await $0.honoursCompression() },
        Check("publishes nothing when a layer cannot be read") { try await $0.publishesLast() },
        Check("publishes nothing when the export is cancelled") { try await $0.cancelsCleanly() },
        Check("publishes nothing when the export was cancelled before, even if no layer is new") {
            try await $0.looksForCancellation()
        },
        Check("leaves out a result whose layer is missing or damaged, and keeps its record") {
            try await $0.missesAreNoFaults()
        },
        Check("keeps the cache when all layers are missing") { try await $0.keepsCacheWithoutReadableLayers() },
        Check("verifies a cache in both depths, and changes nothing") { try await $0.verifies() },
        Check("reports what it does in order") { try await $0.reportsProgress() },
        Check("holds one whole cache of several that are exported at once") {
            try await $0.survivesConcurrentExports()
        },
    ]

    // MARK: What is stored

    func isEmptyAtFirst() async throws {
        let cache = try await backend(newName()).importCache(progress: .discarded)
        try expect(cache == nil, "importing a cache that nobody exported gives one")
    }

    func givesBackGraph() async throws {
        let backend = try await backend(newName())
        let sample = try SampleCache.diamond()
        let receipt = try await backend.export(sample)
        try expect(!receipt.published.isEmpty, "the receipt names nothing that was published")
        try expect(receipt.problems.isEmpty, "a plain export has problems: \(receipt.problems)")
        try expect(receipt.converted.isEmpty, "layers are converted although nobody asked")
        for layer in sample.layers {
            try expect(
                receipt.transfers[layer.descriptor.digest] != nil, "the receipt lacks layer \(layer.descriptor.digest)")
        }
        let cache = try await backend.stored()
        try expect(cache.graph == sample.graph, "the graph that came back is another one")
        try expect(cache.problems.isEmpty, "importing has problems: \(cache.problems)")
    }

    func givesBackLayers() async throws {
        let backend = try await backend(newName())
        let sample = try SampleCache.diamond()
        try await backend.export(sample)
        let cache = try await backend.stored()
        for layer in sample.layers {
            let bytes = try await cache.blobs.bytes(of: layer.descriptor)
            try expect(bytes == layer.stored, "layer \(layer.descriptor.digest) came back with other bytes")
            let part = try await cache.blobs.bytes(of: layer.descriptor, range: 3..<700)
            try expect(
                part == Array(layer.stored[3..<700]), "bytes 3 to 700 of \(layer.descriptor.digest) are other ones")
        }
    }

    func holdsManyLayers() async throws {
        let backend = try await backend(newName())
        let sample = try SampleCache.chain(of: 200)
        try await backend.export(sample)
        let cache = try await backend.stored()
        try expect(cache.graph == sample.graph, "the graph that came back is another one")
        for layer in sample.layers {
            let bytes = try await cache.blobs.bytes(of: layer.descriptor)
            try expect(bytes == layer.stored, "layer \(layer.descriptor.digest) came back with other bytes")
        }
    }

    // MARK: Again

    func transfersOnce() async throws {
        let backend = try await backend(newName())
        let sample = try SampleCache.diamond()
        let first = try await backend.export(sample)
        let source = FaultySource(sample.blobs, .opening(0))
        let second = try await backend.export(sample, from: sample.source(source))
        try expect(second.published == first.published, "the same cache has another manifest the second time")
        try expect(!second.transfers.values.contains(.written), "blobs are written again: \(second.transfers)")
        try expect(source.opened == 0, "layers are read again although they are stored")
    }

    func lastExportWins() async throws {
        let backend = try await backend(newName())
        try await backend.export(try .diamond("first"))
        let last = try SampleCache.diamond("last")
        try await backend.export(last)
        try expect(try await backend.stored().graph == last.graph, "the cache is not the one exported last")
    }

    func keepsCacheWithoutLayers() async throws {
        let backend = try await backend(newName())
        let sample = try SampleCache.diamond()
        try await backend.export(sample)
        let receipt = try await backend.export(try .withoutLayers())
        try expect(receipt.published.isEmpty, "an export without layers publishes something")
        try expect(!receipt.problems.isEmpty, "an export without layers says nothing about it")
        try expect(try await backend.stored().graph == sample.graph, "an export without layers changed the cache")
    }

    // MARK: Options

    func honoursMode() async throws {
        let sample = try SampleCache.pending()
        for (mode, count) in [(CacheMode.min, 1), (.max, 2)] {
            let backend = try await backend(newName(), mode: mode)
            let receipt = try await backend.export(sample)
            let graph = try await backend.stored().graph
            try expect(
                graph.recordCount == sample.graph.recordCount, "mode=\(mode) stores \(graph.recordCount) records")
            try expect(
                graph.resultCount == count, "mode=\(mode) stores \(graph.resultCount) results instead of \(count)")
            try expect(receipt.converted.count == count - 1, "mode=\(mode) made \(receipt.converted.count) layers")
        }
    }

    func honoursCompression() async throws {
        for type in [Compression.uncompressed, .gzip, .zstd] {
            let forced = try SampleCache.diamond("forced")
            let backend = try await backend(newName(), compression: CompressionOptions(type: type, force: true))
            try await backend.export(forced)
            let cache = try await backend.stored()
            for descriptor in cache.graph.descriptors.values {
                try expect(
                    descriptor.mediaType == .layer(type), "a layer forced to \(type) is a \(descriptor.mediaType)")
                try await check(descriptor, of: cache)
            }
            let diffIDs = Set(forced.layers.compactMap(\.descriptor.diffID))
            try expect(
                Set(cache.graph.descriptors.values.compactMap(\.diffID)) == diffIDs,
                "layers forced to \(type) have other contents")

            let new = try SampleCache.pending()
            let lazy = try await self.backend(newName(), compression: CompressionOptions(type: type))
            let receipt = try await lazy.export(new)
            let graph = try await lazy.stored().graph
            for made in receipt.converted {
                try expect(graph.descriptors[made]?.mediaType == .layer(type), "a new layer is not \(type)")
            }
            for layer in new.layers {
                try expect(
                    graph.descriptors[layer.descriptor.digest] == layer.descriptor,
                    "a stored layer is changed by \(type) without force")
            }
        }
    }

    /// Reads a layer and compares it with what its descriptor says.
    private func check(_ descriptor: Descriptor, of cache: ImportedCache) async throws {
        let stored = try await cache.blobs.open(descriptor, range: nil)
        var tar: [UInt8] = []
        let decoder = LayerDecoder(DecompressionLimit(), stored: descriptor.size)
        for try await chunk in try decoder.decode(stored, mediaType: descriptor.mediaType) {
            tar += chunk.readableBytesView
        }
        try expect(
            DiffID(Digest(of: tar)) == descriptor.diffID,
            "the contents of \(descriptor.digest) are not those of its diffID")
    }

    // MARK: Faults

    func publishesLast() async throws {
        let old = try SampleCache.diamond("old")
        for number in 1...old.layers.count {
            for fault in [FaultySource.Fault.opening(number), .reading(number, after: 600)] {
                for hasOld in [false, true] {
                    let backend = try await backend(newName())
                    if hasOld { try await backend.export(old) }
                    // Layers that nobody has yet: what is stored already would not be read.
                    let new = try SampleCache.diamond(newName())
                    do {
                        try await backend.export(new, from: new.source(FaultySource(new.blobs, fault)))
                        throw ConformanceFailure(description: "an export succeeds although a layer could not be read")
                    } catch let error as CacheError {
                        try expect(error.code == .unavailable, "a layer that cannot be read is reported as \(error)")
                    }
                    let graph = try await backend.importCache(progress: .discarded)?.graph
                    try expect(graph == (hasOld ? old.graph : nil), "a failed export changed the cache")
                    try await backend.export(new)
                    try expect(
                        try await backend.stored().graph == new.graph, "an export does not heal what a failed one left")
                }
            }
        }
    }

    func cancelsCleanly() async throws {
        let old = try SampleCache.diamond("old")
        let backend = try await backend(newName())
        for number in 1...old.layers.count {
            try await backend.export(old)
            let new = try SampleCache.diamond(newName())
            let source = FaultySource(new.blobs, .hanging(number))
            let problem = await withTaskGroup(of: String?.self) { group in
                group.addTask {
                    do {
                        try await backend.export(new, from: new.source(source))
                        return "a cancelled export succeeds"
                    } catch {
                        return error is CancellationError ? nil : "a cancelled export throws \(error)"
                    }
                }
                await source.waitUntilHanging()
                group.cancelAll()
                return await group.next() ?? nil
            }
            try expect(problem == nil, problem ?? "")
            try expect(try await backend.stored().graph == old.graph, "a cancelled export changed the cache")
            try await backend.export(new)
            try expect(
                try await backend.stored().graph == new.graph, "an export does not heal what a cancelled one left")
        }
    }

    func looksForCancellation() async throws {
        let backend = try await backend(newName())
        let old = try SampleCache.diamond(newName())
        try await backend.export(old)
        var graph = old.graph
        let target = old.graph.targets.map { Link($0) }
        let more = try graph.addRecord(.record(operation: Digest(of: "more".utf8), output: 0), inputs: [target])
        try graph.setTargets([more])
        let problem = await Task { [graph] in
            withUnsafeCurrentTask { $0?.cancel() }
            do {
                _ = try await backend.exportCache(graph, from: old.source, progress: .discarded)
                return "an export that was cancelled before succeeds" as String?
            } catch {
                return error is CancellationError ? nil : "an export that was cancelled before throws \(error)"
            }
        }.value
        try expect(problem == nil, problem ?? "")
        try expect(try await backend.stored().graph == old.graph, "a cancelled export changed the cache")
    }

    func missesAreNoFaults() async throws {
        for force in [false, true] {
            let compression = CompressionOptions(type: .zstd, force: force)
            // Different digests each time: what is stored already is not asked for again.
            for fault in [FaultySource.Fault.missing, FaultySource.Fault.changed, FaultySource.Fault.cut] {
                let sample = try SampleCache.diamond(newName())
                let victim = sample.layers[1].descriptor.digest
                let backend = try await backend(newName(), compression: compression)
                let source = FaultySource(sample.blobs, fault(victim))
                let receipt = try await backend.export(sample, from: sample.source(source))
                try expect(
                    receipt.problems.count == 1, "a layer that cannot be read gives \(receipt.problems.count) problems")
                let graph = try await backend.stored().graph
                let rest = sample.graph.removingResults { $0.content == .blob(victim) }
                try expect(graph.recordCount == sample.graph.recordCount, "a layer that cannot be read costs records")
                try expect(
                    graph.resultCount == rest.resultCount,
                    "\(graph.resultCount) results are left instead of \(rest.resultCount)")
                // Without conversion the rest can be compared as it is.
                if !force {
                    try expect(graph == rest.selected(.max), "a layer that cannot be read costs more than its results")
                }
            }
        }
    }

    func keepsCacheWithoutReadableLayers() async throws {
        let backend = try await backend(newName())
        let sample = try SampleCache.diamond()
        try await backend.export(sample)
        // Layers that no other check has stored.
        let lost = try SampleCache.diamond(newName())
        do {
            try await backend.export(lost, from: lost.source(MemorySource([])))
            throw ConformanceFailure(description: "an export that lost all its layers succeeds")
        } catch let error as CacheError {
            try expect(error.code == .notFound, "an export that lost all its layers fails with \(error)")
        }
        try expect(
            try await backend.stored().graph == sample.graph, "an export that lost all its layers changed the cache")
    }

    // MARK: Progress

    func reportsProgress() async throws {
        let backend = try await backend(newName())
        let sample = try SampleCache.diamond(newName())
        let log = ProgressLog()
        let receipt = try await backend.export(sample, progress: log.sink)
        let bytes = sample.layers.reduce(Int64(0)) { $0 + $1.descriptor.size }
        // A backend may have to look at its store before, and wait for it.
        let first = log.events.first {
            if case .waiting = $0 { false } else { true }
        }
        try expect(
            first == .planned(layers: sample.layers.count, bytes: bytes),
            "the plan is not reported first, or not right")

        var passed: [Digest: Int64] = [:]
        var sizes: [Digest: Int64] = [:]
        var finished: [Digest: PutOutcome] = [:]
        var published: [String: Digest] = [:]
        for event in log.events {
            switch event {
            case .planned, .converted, .problem, .waiting, .listedNames, .listedBlobs: break
            case .verified(let digest, _): try expect(false, "an export reports that \(digest) was verified")
            case .removedName(let name): try expect(false, "an export reports that \(name) was removed")
            case .removedBlob(let id, _): try expect(false, "an export reports that \(id) was removed")
            case .started(let descriptor): (sizes[descriptor.digest], passed[descriptor.digest]) = (descriptor.size, 0)
            case .advanced(let digest, let count):
                try expect(
                    passed[digest].map { $0 <= count } ?? false,
                    "bytes of \(digest) advance before it starts, or backwards")
                try expect(finished[digest] == nil, "bytes of \(digest) advance after it is finished")
                passed[digest] = count
            case .finished(let digest, let outcome):
                try expect(published.isEmpty, "\(digest) is finished after a name was published")
                finished[digest] = outcome
            case .published(let name, let digest): published[name] = digest
            }
        }
        try expect(passed == sizes, "not all bytes of the blobs are reported")
        for layer in sample.layers {
            let digest = layer.descriptor.digest
            try expect(
                finished[digest] != nil && finished[digest] == receipt.transfers[digest],
                "\(digest) is not reported as finished")
        }
        try expect(
            published == receipt.published.mapValues(\.digest),
            "names are reported that are not in the receipt, or the reverse")
    }

    // MARK: Others

    func survivesConcurrentExports() async throws {
        let backend = try await backend(newName())
        let samples = try (0..<4).map { number throws(CacheError) in try SampleCache.diamond("concurrent \(number % 3)")
        }
        _ = try await samples.mapConcurrently(limit: samples.count) { try await backend.export($0) }
        let cache = try await backend.stored()
        guard let winner = samples.first(where: { $0.graph == cache.graph }) else {
            throw ConformanceFailure(description: "the cache is none of those exported at the same time")
        }
        for layer in winner.layers {
            let bytes = try await cache.blobs.bytes(of: layer.descriptor)
            try expect(bytes == layer.stored, "layer \(layer.descriptor.digest) came back with other bytes")
        }
    }
}

extension BlobSource {
    /// Reads a blob, or a part of it.
    package func bytes(of descriptor: Descriptor, range: Range<Int64>? = nil) async throws -> [UInt8] {
        var bytes: [UInt8] = []
        for try await chunk in try await open(descriptor, range: range) { bytes += chunk.readableBytesView }
        return bytes
    }
}

extension LayerGraph {
    fileprivate var resultCount: Int { recordIDs.reduce(0) { $0 + ((try? self[$1].results.count) ?? 0) } }
}
