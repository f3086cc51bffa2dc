import BuildCacheBytes
import BuildCacheCore
import BuildCacheHTTP
import BuildCacheOCI
import BuildCacheClient
import NIOCore
import NIOHTTP1
import Synchronization

/// The entries of a repository, whatever the version of the protocol.
struct GitHubEntries: BlobSource {
    private(set) var requests: GitHubRequests
    let service: any GitHubProtocol
    let budget: UploadBudget
    /// The pauses of the operation that the store was opened for.
    let pauses: PauseBudget
    /// How long an upload may go on after it was cancelled.
    let grace: Duration
    private let locations = Locations()

    /// Where layers were found last.
    private final class Locations: Sendable {
        let urls = Mutex<[Digest: ServiceURL]>([:])
    }

    /// Lookups at once: they are small and mostly waiting.
    private static let lookupsInFlight = 16

    init(
        requests: GitHubRequests, service: any GitHubProtocol, budget: UploadBudget, pauses: PauseBudget,
        grace: Duration
    ) {
        self.requests = requests
        self.service = service
        self.budget = budget
        self.pauses = pauses
        self.grace = grace
    }

    /// The store as layers are read from it after an import, for as long as a build lasts: the pauses of each are bounded on their own.
    var forReading: GitHubEntries {
        var store = self
        store.requests.pauses = nil
        return store
    }

    // MARK: Layers

    /// Those of the layers that are there.
    func present(_ layers: [Descriptor]) async throws -> Set<Digest> {
        let found = try await layers.mapConcurrently(limit: GitHubEntries.lookupsInFlight) { layer in
            try await location(of: layer.digest) == nil ? nil : layer.digest
        }
        return Set(found.compactMap { $0 })
    }

    /// Whether a layer is stored.
    func holds(_ digest: Digest) async throws -> Bool { try await location(of: digest) != nil }

    /// Where a layer is, for a while; `nil` if it is nowhere.
    private func location(of digest: Digest) async throws -> ServiceURL? {
        let key = GitHubKeys.blob(digest)
        let found = try await service.find(key, isPrefix: false, retries: requests.makeRetries())
        // A signature of the layer begins with the same key.
        let url = found?.key == key ? found?.url : nil
        locations.urls.withLock { $0[digest] = url }
        return url
    }

    /// Reads a layer without verifying it.
    ///
    /// An address that has ended is asked for again, also in the middle.
    ///
    /// - Throws: `CacheError` `.notFound` if it was evicted meanwhile, `.denied`, `.unavailable`.
    func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        let download = Download(size: descriptor.size, retries: requests.makeRetries) { range in
            try await get(range) { isRefreshed in
                let known = isRefreshed ? nil : locations.urls.withLock { $0[descriptor.digest] }
                return if let known { known } else { try await location(of: descriptor.digest) }
            }
        }
        do { return try await download.open(range) } catch let error as CacheError {
            throw error.adding(backend: "gha", subject: "\(descriptor.digest)")
        }
    }

    /// One response with the bytes at an address, or at a new one if that one is not good any more.
    private func get(
        _ range: Range<Int64>?, at locate: (_ isRefreshed: Bool) async throws -> ServiceURL?
    ) async throws -> IncomingResponse {
        for isRefreshed in [false, true] {
            guard let url = try await locate(isRefreshed) else { break }
            var request = OutgoingRequest(.GET, url, headers: ["Accept-Encoding": "identity"])
            if let range {
                request.headers.add(name: "Range", value: "bytes=\(range.lowerBound)-\(range.upperBound - 1)")
            }
            let response = try await requests.transport.sendOnce(request)
            switch response.status.code {
            case 200, 206: return response
            case 401, 403, 404:
                if isRefreshed && response.status != .notFound { throw await response.failure().error }
                await response.discard()
            default: throw await response.failure().error
            }
        }
        throw CacheError(.notFound, "the entry is not there any more: GitHub evicts what was not used for long")
    }

    /// What became of a layer that was to be stored.
    enum Stored {
        case written
        case alreadyPresent
        /// Another job has begun to store it and is not ready, or broke off.
        case reserved
        /// The service has perhaps begun an entry for it at a try of this job whose answer was lost, and no request gives that back.
        case blocked
    }

    /// Stores a layer unless it is there.
    ///
    /// - Parameter isAbsent: Whether it was looked for already.
    func put(_ descriptor: Descriptor, from source: any BlobSource, isAbsent: Bool) async throws -> Stored {
        do {
            if !isAbsent, try await location(of: descriptor.digest) != nil { return .alreadyPresent }
            let key = GitHubKeys.blob(descriptor.digest)
            // An entry that was begun cannot be given up, so what may be wrong with the source is found out first if that is cheap.
            let stream = try await source.open(descriptor, range: nil).verified(as: descriptor)
            let content: EntryContent =
                if descriptor.size <= BlockBlob.singleSize {
                    .bytes(try await stream.collect(size: descriptor.size))
                } else {
                    .stream(stream, size: descriptor.size)
                }
            let retries = requests.makeRetries()
            let saved = try await save(content, as: key, retries: retries, reserving: retries)
            if case .saved = saved { return .written }
            if try await location(of: descriptor.digest) != nil { return .alreadyPresent }
            if case .taken = saved { return .reserved }
            return .blocked
        } catch let error as CacheError {
            throw error.adding(backend: "gha", operation: "export", subject: "\(descriptor.digest)")
        }
    }

    /// The outcome of saving an entry.
    private enum Saved {
        case saved
        /// There is one, or another job has begun it.
        case taken
        /// There is one, or another job or an earlier try of this one has begun it: the answer to that try was lost.
        case lost
        /// The only try to begin it failed, and may have begun it.
        case unanswered(CacheError)
    }

    /// Makes an entry.
    ///
    /// What fits into memory is brought to its end also if this is cancelled, within ``grace``: an entry that was begun and not ended
    /// blocks its key until GitHub forgets it.
    ///
    /// - Parameters:
    ///   - retries: The tries to send and to end it.
    ///   - reservation: The tries to begin it.
    private func save(
        _ content: EntryContent, as key: String, retries: Retries, reserving reservation: Retries
    ) async throws -> Saved {
        try await budget.take()
        guard case .bytes = content else {
            return try await make(content, as: key, retries: retries, reserving: reservation)
        }
        try Task.checkCancellation()
        // A task of its own, because cancellation would reach a child. It is waited for, so nothing outlives the call.
        let making = Task { try await make(content, as: key, retries: retries, reserving: reservation) }
        return try await withTaskCancellationHandler {
            try await making.value
        } onCancel: {
            Task {
                try? await Task.sleep(for: grace)
                making.cancel()
            }
        }
    }

    private func make(
        _ content: EntryContent, as key: String, retries: Retries, reserving tries: Retries
    ) async throws -> Saved {
        let reservation: Reservation
        do {
            guard let reserved = try await service.reserve(key, retries: tries) else {
                return tries.hasFailed ? .lost : .taken
            }
            reservation = reserved
        } catch let error as CacheError where error.mayPass {
            return .unanswered(error)
        }
        retries.madeProgress()
        try await service.upload(content, to: reservation, retries: retries)
        retries.madeProgress()
        do {
            try await service.commit(key, reservation, size: content.size, retries: retries)
        } catch {
            // The answer to an earlier try may have got lost: then it is there.
            try Task.checkCancellation()
            guard try await service.find(key, isPrefix: false, retries: requests.makeRetries())?.key == key else {
                throw (error as? EntryExists)?.cause ?? error
            }
        }
        return .saved
    }

    // MARK: Indexes

    /// The newest version of an index.
    func newest(_ index: String) async throws -> (number: Int, entry: FoundEntry)? {
        let retries = requests.makeRetries()
        guard let entry = try await service.find(index + "#", isPrefix: true, retries: retries),
            let number = GitHubKeys.number(of: entry.key, in: index)
        else { return nil }
        return (number, entry)
    }

    /// The bytes of a version of an index, `nil` if it was evicted meanwhile.
    func read(_ entry: FoundEntry, limit: Int) async throws -> [UInt8]? {
        let retries = requests.makeRetries()
        do {
            return try await retries.retry {
                let response = try await get(nil) { isRefreshed in
                    guard isRefreshed else { return entry.url }
                    let found = try await service.find(entry.key, isPrefix: false, retries: retries)
                    return found?.key == entry.key ? found?.url : nil
                }
                let bytes = try await response.collect(upTo: limit)
                guard response.length.map({ $0 == Int64(bytes.count) }) ?? true else {
                    throw CacheError(.unavailable, "\(entry.key) arrives cut short", retry: .worthwhile)
                }
                return bytes
            }
        } catch let error as CacheError where error.code == .notFound {
            return nil
        }
    }

    /// A version of an index by its number, `nil` if it is not there.
    func read(_ number: Int, of index: String, limit: Int) async throws -> [UInt8]? {
        guard let entry = try await version(number, of: index) else { return nil }
        return try await read(entry, limit: limit)
    }

    private func version(_ number: Int, of index: String) async throws -> FoundEntry? {
        let key = "\(index)#\(number)"
        let found = try await service.find(key, isPrefix: false, retries: requests.makeRetries())
        // A signature of it begins with the same key.
        return found?.key == key ? found : nil
    }

    /// Stores a small entry; `false` if there is one, or another job has begun it.
    func saveOnce(_ bytes: [UInt8], as key: String) async throws -> Bool {
        let retries = requests.makeRetries()
        switch try await save(.bytes(bytes), as: key, retries: retries, reserving: retries) {
        case .saved: return true
        case .taken, .lost: return false
        case .unanswered(let error): throw error
        }
    }

    /// The bytes under a key, `nil` if there is no such entry.
    func read(key: String, limit: Int) async throws -> [UInt8]? {
        guard let found = try await service.find(key, isPrefix: false, retries: requests.makeRetries()),
            found.key == key
        else { return nil }
        return try await read(found, limit: limit)
    }

    /// How long to wait for another job that has begun the version we want, and is not ready.
    private static let clashPause = Duration.seconds(2)
    private static let clashesBeforeSkipping = 7
    private static let maximumSkips = 100
    /// The most versions of others that are merged one after the other, and the most groups of versions that are looked for.
    var maximumRounds = 1000

    /// Stores the first version of an index from `number` on that can be begun; `false` if another job has begun that one.
    ///
    /// A version whose reservation was made and not answered is blocked, also for this job. After the first such each number gets one try:
    /// a service that loses every second answer would else block one after the other.
    private func saveVersion(
        _ content: EntryContent, of index: String, from number: Int
    ) async throws -> (number: Int, isSaved: Bool) {
        let retries = requests.makeRetries()
        var number = number
        var saved = try await save(content, as: "\(index)#\(number)", retries: retries, reserving: retries)
        while true {
            switch saved {
            case .saved: return (number, true)
            case .taken: return (number, false)
            case .lost: break
            case .unanswered(let error): try await retries.pause(after: error)
            }
            number += 1
            saved = try await save(content, as: "\(index)#\(number)", retries: retries, reserving: retries.once)
        }
    }

    /// Stores an index as its next version.
    ///
    /// A job that finds the next version begun, and not ended for long, passes it over. Who began it may only have been slow, so both look
    /// afterwards: the one for versions after its own, the other for those that it passed over. What was stored in the meantime is handed to
    /// `make` once more, so that nothing of it gets lost whoever was last. Readers take the version that is newest by its time, which need
    /// not be the last by its number: a job is done when these are one.
    ///
    /// - Parameters:
    ///   - limit: Bytes that a version which is there may have.
    ///   - mergesOthers: Whether what other jobs store at the same time must be in what readers see in the end.
    ///   - make: What to store over a version that is there; that itself if it will do. Also gets versions that this one was made without,
    ///     and whether something was stored here already: then what others stored over it is the newer.
    /// - Returns: What readers see now, and its key.
    /// - Throws: `CacheError`: an index that was not stored is no success.
    func publish(
        _ index: String, limit: Int, mergesOthers: Bool,
        _ make: (_ current: [UInt8]?, _ overlooked: [[UInt8]], _ hasSaved: Bool) async throws -> RawDocument
    ) async throws -> (key: String, document: RawDocument) {
        var clashes = 0
        var skipped = 0
        var number = 0
        var overlooked: [[UInt8]] = []
        var hasSaved = false
        // Whether to ask for versions after the newest: most often the next one is free, and nobody knows better than the service.
        var isWatchful = false
        for _ in 0..<maximumRounds where skipped < GitHubEntries.maximumSkips {
            let newest = try await newest(index)
            let last = isWatchful ? try await last(of: index, after: newest?.number ?? 0) : nil
            let current = last ?? newest
            // One that is gone has nothing to keep; one that is too large may be replaced, but not merged.
            var bytes: [UInt8]?
            do {
                if let current { bytes = try await read(current.entry, limit: limit) }
            } catch let error as CacheError where error.code == .limitExceeded && !mergesOthers {}
            let made = try await make(bytes, overlooked, hasSaved)
            if let newest, last == nil, made.bytes == bytes {
                guard mergesOthers, !isWatchful else { return (newest.entry.key, made) }
                isWatchful = true
                continue
            }
            let base = current?.number ?? 0
            // Another job that is faster each time is no standstill.
            if base + 1 + skipped != number { clashes = 0 }
            number = base + 1 + skipped
            let stored = try await saveVersion(.bytes(made.bytes), of: index, from: number)
            skipped += stored.number - number
            number = stored.number
            if stored.isSaved {
                guard mergesOthers else { return ("\(index)#\(number)", made) }
                overlooked = []
                for passed in base + 1..<number {
                    if let bytes = try await read(passed, of: index, limit: limit) { overlooked.append(bytes) }
                }
                // Once more: if nobody stored anything meanwhile, `make` has nothing to add to what was stored here.
                (hasSaved, isWatchful) = (true, true)
                skipped = 0
                continue
            }
            clashes += 1
            isWatchful = mergesOthers
            if clashes > GitHubEntries.clashesBeforeSkipping {
                // Whoever began that version has broken off, or is very slow.
                skipped += 1
                clashes = 0
            } else if try await self.newest(index)?.number ?? 0 < number {
                let reason = "another job has begun version \(number) of the index \(index) and not ended it"
                guard try await pauses.pause(for: GitHubEntries.clashPause, because: reason) else {
                    throw GitHubEntries.busy(index, "\(reason), and \(pauses.spent) of waiting are over, see timeout")
                }
            }
        }
        throw GitHubEntries.busy(
            index, "after \(pauses.spent) of waiting its next versions are begun and not ended, or others are faster")
    }

    private static func busy(_ index: String, _ reason: String) -> CacheError {
        CacheError(
            .busy, "the index \(index) cannot be stored: \(reason); try again when fewer jobs export",
            retry: .worthwhile)
    }

    /// Versions beyond the last known one that are looked for: of so many jobs in a row each may be slow to end what it has begun.
    private static let probedVersions = 8

    /// The last of the versions after a number, `nil` if there is none.
    private func last(of index: String, after number: Int) async throws -> (number: Int, entry: FoundEntry)? {
        var last: (number: Int, entry: FoundEntry)?
        for _ in 0..<maximumRounds {
            let start = (last?.number ?? number) + 1
            let found = try await (start..<start + GitHubEntries.probedVersions).mapConcurrently(
                limit: GitHubEntries.probedVersions
            ) { number in try await version(number, of: index).map { (number: number, entry: $0) } }
            guard let next = found.compactMap({ $0 }).last else { return last }
            last = next
        }
        throw CacheError(.limitExceeded, "the index \(index) has more versions than are looked for; prune it")
    }
}

extension CacheError {
    /// Whether another try was not made and may pass.
    fileprivate var mayPass: Bool {
        switch retry {
        case .worthwhile, .notBefore: true
        case .never, .exhausted: false
        }
    }
}

extension BlobStream {
    /// All bytes, which are as many as was said.
    fileprivate func collect(size: Int64) async throws -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Int(clamping: Swift.max(0, size)))
        for try await chunk in self { bytes += chunk.readableBytesView }
        return bytes
    }
}
