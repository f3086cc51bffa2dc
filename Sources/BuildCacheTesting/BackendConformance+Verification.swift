import BuildCacheClient
import BuildCacheCore
import BuildCacheGraph

extension BackendConformance {
    func verifies() async throws {
        let backend = try await backend(newName())
        try expect(
            try await backend.verify(.everyByte).names.isEmpty, "a cache that was never exported is verified")
        let sample = try SampleCache.diamond(newName())
        try await backend.export(sample)
        for depth in VerificationReport.Depth.allCases {
            let log = ProgressLog()
            let report = try await backend.verify(depth, progress: log.sink)
            try expect(report.isSound, "a sound cache is verified as \(report)")
            try expect(report.names.count == 1, "one cache was exported, and \(report.names) were verified")
            try expect(
                report.layerCount == sample.layers.count
                    && report.layerBytes == sample.layers.reduce(0) { $0 + $1.descriptor.size },
                "\(report.layerCount) layers with \(report.layerBytes) bytes are verified")
            let verified = log.events.compactMap { if case .verified(let digest, true) = $0 { digest } else { nil } }
            try expect(
                verified.sorted() == sample.layers.map(\.descriptor.digest).sorted(),
                "not each layer is reported as verified, once")
        }
        try await expectUnchanged(backend, sample)
    }

    func listsCaches() async throws {
        let (name, other) = (newName(), newName())
        let (long, short) = (try SampleCache.chain(of: 5), try SampleCache.chain(of: 3))
        let backend = try await prunable(name)
        try await backend.export(long)
        try await prunable(other).export(short)
        for (name, sample) in [(name, long), (other, short)] {
            let backend = try await prunable(name)
            let found = try await backend.caches().filter { $0.isCache && $0.blobs?.isEmpty == false }
            let bytes = sample.layers.reduce(Int64(0)) { $0 + $1.descriptor.size }
            // A store may have a directory for each cache, and call all of them alike.
            let fitting = found.filter { $0.layerCount == sample.layers.count && $0.bytesOfLayers == bytes }
            try expect(!fitting.isEmpty, "no name is listed with the layers of an export: \(found.map(\.name))")
            try expect(fitting.allSatisfy { $0.bytesOfDocuments > 0 }, "a cache is listed without documents")
            try expect(fitting.allSatisfy { $0.problem == nil }, "a sound cache is listed with a problem")
            let report = try await backend.verifyAll(.everyByte)
            let damaged = report.damaged.filter { $0.digest.map { Set(sample.digests).contains($0) } ?? false }
            try expect(damaged.isEmpty, "sound layers are found damaged: \(damaged)")
            try expect(!report.names.isEmpty, "no cache was verified")
            try await expectUnchanged(backend, sample)
        }
    }

    func findsMissingLayer() async throws {
        let backend = try await prunable(newName())
        // Layers that no other check has stored.
        let sample = try SampleCache.diamond(newName())
        try await backend.export(sample)
        let victim = sample.layers[1].descriptor.digest
        guard try await remove(victim, from: backend) else { return }
        for depth in VerificationReport.Depth.allCases {
            for report in [try await backend.verify(depth), try await backend.verifyAll(depth)] {
                let found = report.damaged.filter { $0.digest.map { Set(sample.digests).contains($0) } ?? false }
                try expect(
                    found.map(\.digest) == [victim] && found.map(\.kind) == [.missing],
                    "a layer is missing, and the damage is \(found)")
                try expect(found.allSatisfy { !$0.names.isEmpty }, "the damage names no cache")
                try expect(!report.isSound, "a report with damage is sound")
            }
        }
        try await backend.export(sample)
        try expect(try await backend.verify(.everyByte).isSound, "an export does not replace a missing layer")
    }

    /// Removes a layer as nothing but an accident does; `false` if the store does not remove blobs.
    private func remove(_ layer: Digest, from backend: any PrunableBackend) async throws -> Bool {
        let store = try await backend.openForPruning(isReadOnly: false)
        defer { store.close() }
        guard case .listed(let blobs) = try await store.blobs() else { return false }
        guard let blob = blobs.first(where: { $0.digest == layer }) else {
            throw ConformanceFailure(description: "a layer that was exported is not listed")
        }
        try expect(try await store.remove(blob), "a layer that nothing changed is not removed")
        return true
    }

    /// Checks that the store holds what was exported, and that nothing is noted as damaged.
    private func expectUnchanged(_ backend: any CacheBackend, _ sample: SampleCache) async throws {
        try expect(try await backend.stored().graph == sample.graph, "looking at a cache changed it")
        let receipt = try await backend.export(sample)
        try expect(
            !receipt.transfers.values.contains(.written), "an export after a look writes \(receipt.transfers)")
    }
}

extension SampleCache {
    fileprivate var digests: [Digest] { layers.map(\.descriptor.digest) }
}
