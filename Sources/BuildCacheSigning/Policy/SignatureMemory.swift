import BuildCacheBytes
public import BuildCacheCore
import NIOCore
import Synchronization

/// The newest accepted signature of each place and signer, so that a document that is put back is refused.
///
/// One file per consumer: keep it between builds, where the build cannot change it. Safe for several processes at once.
///
/// - Source: `Documentation/Spec/signing.md` §8.
public final class SignatureMemory: Sendable {
    /// A signature that was accepted.
    public struct Entry: Hashable, Sendable {
        /// The sequence of the document.
        public var sequence: Int64
        /// The time of the signature.
        public var signedAt: Timestamp
        /// The document.
        public var digest: Digest
    }

    private struct Key: Hashable {
        var place: ExactText
        var signer: ExactText
    }

    /// The most bytes of the file.
    private static let maximumBytes: Int64 = 16 << 20

    /// The file; `nil` for a memory of this process alone.
    public let path: String?
    private let clock: any Clock<Duration>
    private let own = Mutex<[Key: Entry]>([:])

    /// Creates a memory.
    ///
    /// - Parameter path: The file, which is created with the first signature. `nil` keeps the memory in this process.
    public convenience init(path: String? = nil) { self.init(path: path, clock: ContinuousClock()) }

    package init(path: String?, clock: any Clock<Duration>) {
        self.path = path
        self.clock = clock
    }

    /// The newest entry of each signer at a place.
    ///
    /// - Throws: `CacheError` `.corrupted` if the file is damaged: without its entries a replay could not be noticed.
    public func entries(of place: String) async throws -> [String: Entry] {
        let all = try await load()
        let place = ExactText(place)
        return Dictionary(all.filter { $0.key.place == place }.map { ($0.key.signer.text, $0.value) }) { first, _ in
            first
        }
    }

    /// Adds the signatures that are newer than those of their signers that are there.
    ///
    /// - Throws: `CacheError` `.busy` if the file stays locked for ten seconds; `.denied`, `.storageFull`, `.unavailable`, `.corrupted`.
    package func add(_ signatures: [VerifiedSignature], at place: String) async throws {
        let new = signatures.compactMap { signature -> (Key, Entry)? in
            guard let claims = signature.claims else { return nil }
            let key = Key(place: ExactText(place), signer: ExactText(signature.signer))
            return (key, Entry(sequence: claims.sequence, signedAt: claims.signedAt, digest: signature.document))
        }
        guard !new.isEmpty else { return }
        guard let path else {
            own.withLock { _ = SignatureMemory.merge(new, into: &$0) }
            return
        }
        let lock = try await lock(path)
        defer { lock.end() }
        var all = try await load()
        guard SignatureMemory.merge(new, into: &all) else { return }
        try await store(all, path)
    }

    /// Returns whether anything changed.
    private static func merge(_ new: [(Key, Entry)], into all: inout [Key: Entry]) -> Bool {
        var isChanged = false
        for (key, entry) in new {
            if let known = all[key], (entry.sequence, entry.signedAt) <= (known.sequence, known.signedAt) { continue }
            all[key] = entry
            isChanged = true
        }
        return isChanged
    }

    // MARK: The file

    private func load() async throws -> [Key: Entry] {
        guard let path else { return own.withLock { $0 } }
        let bytes: [UInt8]
        do {
            bytes = try await Workers.files.run { () throws(CacheError) in
                let file = try OpenFile(reading: path)
                guard file.size <= SignatureMemory.maximumBytes else {
                    throw SignatureMemory.damaged(path, "too large")
                }
                return Array(try file.read(0..<file.size).readableBytesView)
            }
        } catch {
            guard error.code == .notFound else { throw error }
            return [:]
        }
        do throws(CacheError) { return try SignatureMemory.decode(bytes) } catch {
            throw SignatureMemory.damaged(path, error.message)
        }
    }

    private static func damaged(_ path: String, _ reason: String) -> CacheError {
        CacheError(
            .corrupted,
            "the signature memory \(path) is damaged: \(reason); delete it if you trust the store to hold no older document",
            context: .init(subject: path))
    }

    private func lock(_ path: String) async throws -> FileLock {
        let directory = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
        for _ in 0..<500 {
            let lock = try await Workers.files.run { () throws(CacheError) in
                if !directory.isEmpty { try makeDirectory(directory) }
                return try FileLock(path + ".lock")
            }
            if let lock { return lock }
            try await clock.sleep(for: .milliseconds(20))
        }
        throw CacheError(
            .busy, "another process has kept the signature memory \(path) locked for ten seconds",
            context: .init(subject: path), retry: .worthwhile)
    }

    private func store(_ all: [Key: Entry], _ path: String) async throws {
        var (all, bytes) = (all, SignatureMemory.encode(all))
        // A larger file could not be read any more: the oldest entries make room.
        while Int64(bytes.count) > SignatureMemory.maximumBytes {
            let oldest = all.sorted { $0.value.signedAt < $1.value.signedAt }.prefix(max(1, all.count / 8))
            for (key, _) in oldest { all[key] = nil }
            bytes = SignatureMemory.encode(all)
        }
        let directory = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
        try await writeAtomically(in: directory.isEmpty ? "/" : directory, permissions: 0o600, synchronized: true) {
            file in
            try await file.write(ByteBuffer(bytes: bytes))
            return (path, ())
        }
    }

    private static func encode(_ all: [Key: Entry]) -> [UInt8] {
        var json = JSONWriter()
        json.beginObject()
        json.key("version")
        json.integer(1)
        json.key("signatures")
        json.beginArray()
        for (key, entry) in all.sorted(by: { ($0.key.place, $0.key.signer) < ($1.key.place, $1.key.signer) }) {
            json.beginObject()
            json.key("place")
            json.string(key.place.text)
            json.key("signer")
            json.string(key.signer.text)
            json.key("sequence")
            json.integer(entry.sequence)
            json.key("signedAt")
            json.timestamp(entry.signedAt)
            json.key("digest")
            json.digest(entry.digest)
            json.endObject()
        }
        json.endArray()
        json.endObject()
        return json.bytes
    }

    private static func decode(_ bytes: [UInt8]) throws(CacheError) -> [Key: Entry] {
        try JSONReader.read(bytes, as: "signature memory") {
            (json: inout JSONReader) throws(CacheError) -> [Key: Entry] in
            var all: [Key: Entry] = [:]
            var version: Int64 = 0
            try json.strictObject { (key, json) throws(CacheError) in
                switch key {
                case "version": version = try json.integer()
                case "signatures":
                    guard try json.beginArray() else { return }
                    while try json.nextElement() {
                        let (key, entry) = try readEntry(&json)
                        all[key] = entry
                    }
                default: try json.skipValue()
                }
            }
            guard version == 1 else { throw json.invalid("version \(version) is unknown") }
            return all
        }
    }

    private static func readEntry(_ json: inout JSONReader) throws(CacheError) -> (Key, Entry) {
        var (place, signer): (String?, String?) = (nil, nil)
        var sequence: Int64?
        var (time, digest): (Timestamp?, Digest?) = (nil, nil)
        try json.strictObject { (key, json) throws(CacheError) in
            switch key {
            case "place": place = try json.string()
            case "signer": signer = try json.string()
            case "sequence": sequence = try json.integer("sequence", in: 1...Int64.max)
            case "signedAt": time = try Timestamp(try json.string() ?? "")
            case "digest": digest = try Digest(try json.string() ?? "")
            default: try json.skipValue()
            }
        }
        guard let place, let signer, let sequence, let time, let digest else {
            throw json.invalid("an entry is not whole")
        }
        return (
            Key(place: ExactText(place), signer: ExactText(signer)),
            Entry(sequence: sequence, signedAt: time, digest: digest)
        )
    }
}
