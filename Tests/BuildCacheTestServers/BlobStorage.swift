import BuildCacheAzure
import BuildCacheCore
import Synchronization

/// The containers and blobs of an account, as the service sees them.
final class BlobStorage: Sendable {
    /// A blob that everybody sees.
    struct Blob: Sendable {
        /// The bytes, in the pieces in which they came.
        var pieces: [[UInt8]]
        var etag: String
        var modified: Timestamp
        var contentType: String
        /// By header name.
        var metadata: [String: String]
        var blocks: [Block] = []
        /// Whether it is in the archive tier.
        var isArchived = false

        var size: Int { pieces.reduce(0) { $0 + $1.count } }
        var bytes: [UInt8] { bytes(0..<size) }

        func bytes(_ range: Range<Int>) -> [UInt8] {
            if pieces.count == 1, range == 0..<pieces[0].count { return pieces[0] }
            var bytes: [UInt8] = []
            bytes.reserveCapacity(range.count)
            var start = 0
            for piece in pieces {
                let part = range.clamped(to: start..<start + piece.count)
                if !part.isEmpty { bytes += piece[part.lowerBound - start..<part.upperBound - start] }
                start += piece.count
            }
            return bytes
        }
    }
    struct Block: Sendable {
        var id: String
        var bytes: [UInt8]
    }
    private struct Slot {
        var blob: Blob?
        /// Blocks that no list has named yet.
        var uncommitted: [Block] = []
    }
    private struct State {
        var containers: [String: [String: Slot]] = [:]
        var lastTag = 0
    }

    /// How a request is refused: the status, and the service's name for it.
    struct Refusal: Error {
        var status: Int
        var code: String
        init(_ status: Int, _ code: String) { (self.status, self.code) = (status, code) }
    }

    struct Conditions: Sendable {
        var ifMatch: String?
        var ifNoneMatch: String?
    }

    private let state = Mutex(State())
    private static let maximumBlocks = 50_000

    // MARK: Containers

    func createContainer(_ name: String) throws(Refusal) {
        let isNew = state.withLock { state in
            guard state.containers[name] == nil else { return false }
            state.containers[name] = [:]
            return true
        }
        guard isNew else { throw Refusal(409, "ContainerAlreadyExists") }
    }

    func deleteContainer(_ name: String) throws(Refusal) {
        guard state.withLock({ $0.containers.removeValue(forKey: name) }) != nil else {
            throw Refusal(404, "ContainerNotFound")
        }
    }

    func hasContainer(_ name: String) -> Bool { state.withLock { $0.containers[name] != nil } }
    var containers: [String] { state.withLock { $0.containers.keys.sorted() } }

    /// The blobs of a container by name, without those that have only blocks.
    func blobs(in container: String) throws(Refusal) -> [(name: String, blob: Blob)] {
        let slots = state.withLock { $0.containers[container] }
        guard let slots else { throw Refusal(404, "ContainerNotFound") }
        return slots.compactMap { name, slot in slot.blob.map { (name, $0) } }.sorted { $0.name < $1.name }
    }

    // MARK: Blobs

    func blob(_ name: String, in container: String) throws(Refusal) -> Blob {
        let slots = state.withLock { $0.containers[container] }
        guard let slots else { throw Refusal(404, "ContainerNotFound") }
        guard let blob = slots[name]?.blob else { throw Refusal(404, "BlobNotFound") }
        return blob
    }

    func delete(_ name: String, in container: String, _ conditions: Conditions = Conditions()) throws(Refusal) {
        try change(name, in: container) { slot, _ throws(Refusal) in
            guard slot.blob != nil else { throw Refusal(404, "BlobNotFound") }
            try BlobStorage.check(conditions, slot.blob, isWrite: true)
            slot = Slot()
        }
    }

    /// Replaces the metadata of a blob, which makes it another version.
    func setMetadata(
        _ metadata: [String: String], _ name: String, in container: String, _ conditions: Conditions, now: Timestamp
    ) throws(Refusal) -> Blob {
        try change(name, in: container) { slot, tag throws(Refusal) in
            guard var blob = slot.blob else { throw Refusal(404, "BlobNotFound") }
            try BlobStorage.check(conditions, blob, isWrite: true)
            try BlobStorage.checkTier(slot.blob)
            blob.metadata = metadata
            blob.etag = tag
            blob.modified = now
            slot.blob = blob
            return blob
        }
    }

    /// Puts a whole blob; blocks that wait for their list are gone.
    @discardableResult
    func put(
        _ bytes: [UInt8], _ name: String, in container: String, contentType: String = "application/octet-stream",
        metadata: [String: String] = [:], _ conditions: Conditions = Conditions(), now: Timestamp
    ) throws(Refusal) -> Blob {
        try change(name, in: container) { slot, tag throws(Refusal) in
            try BlobStorage.check(conditions, slot.blob, isWrite: true)
            try BlobStorage.checkTier(slot.blob)
            let blob = Blob(
                pieces: [bytes], etag: tag, modified: now, contentType: contentType, metadata: metadata)
            slot = Slot(blob: blob)
            return blob
        }
    }

    func putBlock(_ id: String, _ bytes: [UInt8], _ name: String, in container: String) throws(Refusal) {
        try change(name, in: container) { slot, _ throws(Refusal) in
            try BlobStorage.checkTier(slot.blob)
            // All names of one blob have one length.
            guard slot.uncommitted.allSatisfy({ $0.id.utf8.count == id.utf8.count }) else {
                throw Refusal(400, "InvalidBlobOrBlock")
            }
            guard slot.uncommitted.count < BlobStorage.maximumBlocks else {
                throw Refusal(409, "BlockCountExceedsLimit")
            }
            slot.uncommitted.removeAll { $0.id == id }
            slot.uncommitted.append(Block(id: id, bytes: bytes))
        }
    }

    /// Where a block list looks for a block.
    enum Lookup: String { case latest = "Latest", committed = "Committed", uncommitted = "Uncommitted" }

    func putBlockList(
        _ list: [(Lookup, String)], _ name: String, in container: String, contentType: String,
        metadata: [String: String], _ conditions: Conditions, now: Timestamp
    ) throws(Refusal) -> Blob {
        try change(name, in: container) { slot, tag throws(Refusal) in
            try BlobStorage.check(conditions, slot.blob, isWrite: true)
            try BlobStorage.checkTier(slot.blob)
            let committed = slot.blob?.blocks ?? []
            var blocks: [Block] = []
            for (lookup, id) in list {
                let fresh = lookup == .committed ? nil : slot.uncommitted.first { $0.id == id }
                let old = lookup == .uncommitted ? nil : committed.first { $0.id == id }
                guard let block = fresh ?? old else { throw Refusal(400, "InvalidBlockList") }
                blocks.append(block)
            }
            let blob = Blob(
                pieces: blocks.map(\.bytes), etag: tag, modified: now, contentType: contentType, metadata: metadata,
                blocks: blocks)
            slot = Slot(blob: blob)
            return blob
        }
    }

    func blocks(_ name: String, in container: String) throws(Refusal) -> (committed: [Block], uncommitted: [Block]) {
        let slots = state.withLock { $0.containers[container] }
        guard let slots else { throw Refusal(404, "ContainerNotFound") }
        guard let slot = slots[name] else { throw Refusal(404, "BlobNotFound") }
        return (slot.blob?.blocks ?? [], slot.uncommitted)
    }

    // MARK: Pieces

    private func change<Value: Sendable>(
        _ name: String, in container: String,
        _ body: (inout Slot, _ tag: String) throws(Refusal) -> Value
    ) throws(Refusal) -> Value {
        let result = state.withLock { state -> Result<Value, Refusal> in
            guard state.containers[container] != nil else { return .failure(Refusal(404, "ContainerNotFound")) }
            state.lastTag += 1
            let tag = "\"0x\(String(state.lastTag, radix: 16, uppercase: true))\""
            var slot = state.containers[container]?[name] ?? Slot()
            return Result { () throws(Refusal) in
                let value = try body(&slot, tag)
                state.containers[container]?[name] = slot
                return value
            }
        }
        return try result.get()
    }

    /// Moves a blob to the archive tier.
    func archive(_ name: String, in container: String) {
        state.withLock { $0.containers[container]?[name]?.blob?.isArchived = true }
    }

    /// Refuses to read or change a blob in the archive tier.
    static func checkTier(_ blob: Blob?) throws(Refusal) {
        if blob?.isArchived == true { throw Refusal(409, "BlobArchived") }
    }

    static func check(_ conditions: Conditions, _ blob: Blob?, isWrite: Bool) throws(Refusal) {
        if let wanted = conditions.ifMatch, wanted != "*", wanted != blob?.etag {
            throw Refusal(412, "ConditionNotMet")
        }
        if conditions.ifMatch == "*", blob == nil { throw Refusal(412, "ConditionNotMet") }
        guard let unwanted = conditions.ifNoneMatch, let blob else { return }
        if unwanted == "*" { throw isWrite ? Refusal(409, "BlobAlreadyExists") : Refusal(400, "InvalidHeaderValue") }
        if unwanted == blob.etag { throw isWrite ? Refusal(412, "ConditionNotMet") : Refusal(304, "ConditionNotMet") }
    }
}
