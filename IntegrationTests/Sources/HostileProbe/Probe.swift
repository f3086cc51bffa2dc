// A server that answers each request of each call with each hostile answer, in a process of its own.
//
//     HostileProbe <role> <journal> [all]
//
// The journal gets a line when a call begins and when it ends, one for each thing that must not be, and one at the end with
// what was measured. Calls that are begun and not ended are those that ended the process, or did not end themselves.

@testable import BuildCacheHTTP
@testable import BuildCache
@testable import BuildCacheTesting
import Foundation
import NIOCore
import Synchronization
@testable import TestServers
@testable import TestTools

@main
struct HostileProbe {
    static func main() async throws {
        let arguments = Array(CommandLine.arguments.dropFirst())
        guard arguments.count >= 2, let role = Role.allCases.first(where: { "\($0)" == arguments[0] }) else {
            throw ProbeError.usage
        }
        let journal = try Journal(arguments[1])
        let chosen = arguments.count > 3 ? HostileAnswer.all.filter { $0.name == arguments[3] } : HostileAnswer.all
        try await Probe(role, journal, isComplete: arguments.dropFirst(2).first == "all").run(chosen)
    }
}

enum ProbeError: Error { case usage, properFailed }

/// The record that a process leaves behind, also one that ends before its time.
final class Journal: Sendable {
    private let file: Mutex<FileHandle>

    init(_ path: String) throws {
        try Data().write(to: URL(fileURLWithPath: path))
        file = Mutex(try FileHandle(forWritingTo: URL(fileURLWithPath: path)))
    }

    func note(_ kind: String, _ text: String) {
        file.withLock { try? $0.write(contentsOf: Data("\(kind)\t\(text.replacing("\n", with: "\\n"))\n".utf8)) }
    }
}

/// The calls that a cache has.
enum Operation: String, CaseIterable, Sendable { case export, `import`, prune }

/// The requests of a call that get a hostile answer.
enum Turn: Sendable, CustomStringConvertible {
    case only(Int)
    case from(Int)
    case none

    func includes(_ number: Int) -> Bool {
        switch self {
        case .only(let wanted): number == wanted
        case .from(let first): number >= first
        case .none: false
        }
    }

    var description: String {
        switch self {
        case .only(let number): "to request \(number)"
        case .from(let number): "from request \(number) on"
        case .none: "to none"
        }
    }
}

/// All calls with one role.
final class Probe: Sendable {
    /// Real time after which a call counts as one that does not end; those that wait need a few seconds of it.
    private static let patience = Duration.seconds(120)
    /// Requests of one call, whatever it is answered.
    private static let mostRequests = 400
    /// The longest pause between two tries: `RetryPolicy.budget`, and the time-out of GitHub's options.
    private static let longestPause = Duration.seconds(600)
    private static let slowCallsAtOnce = 24

    private struct State {
        var running: [String: ContinuousClock.Instant] = [:]
        /// Services with caches in them that nothing has been removed from.
        var filled: [Service] = []
        var calls = 0
        var requests = 0
        var peak = 0
    }
    private struct Call: Sendable {
        var operation: Operation
        var answer: HostileAnswer?
        var turn: Turn
    }

    private let role: Role
    private let journal: Journal
    private let isComplete: Bool
    private let sample: SampleCache
    private let state = Mutex(State())

    init(_ role: Role, _ journal: Journal, isComplete: Bool) throws {
        self.role = role
        self.journal = journal
        self.isComplete = isComplete
        sample = try SampleCache.diamond()
    }

    func run(_ answers: [HostileAnswer]) async throws {
        let watch = Task { try await self.watch() }
        defer { watch.cancel() }
        var calls: [Call] = []
        for operation in Operation.allCases {
            let count = try await perform(Call(operation: operation, answer: nil, turn: .none))
            // Nothing is asked of some servers in some calls.
            guard count > 0 else { continue }
            for answer in answers {
                for turn in turns(of: count, operation, answer) {
                    calls.append(Call(operation: operation, answer: answer, turn: turn))
                }
            }
        }
        for call in calls where call.answer?.isSlow == false { try await perform(call) }
        var slow = calls.filter { $0.answer?.isSlow == true }[...]
        try await withThrowingTaskGroup(of: Void.self) { group in
            for call in slow.prefix(Self.slowCallsAtOnce) { group.addTask { _ = try await self.perform(call) } }
            slow = slow.dropFirst(Self.slowCallsAtOnce)
            while try await group.next() != nil {
                if let call = slow.popFirst() { group.addTask { _ = try await self.perform(call) } }
            }
        }
        let (count, requests) = state.withLock { ($0.calls, $0.requests) }
        journal.note("end", "\(answers.count) answers, \(count) calls, \(requests) requests")
        journal.note("peak", "\(peakMemory() ?? 0)")
    }

    /// The requests of a call that get a hostile answer: all of them, or the first ones and some of the others, which are always the same.
    private func turns(of count: Int, _ operation: Operation, _ answer: HostileAnswer) -> [Turn] {
        if isComplete { return (1...count).flatMap { [.from($0), .only($0)] } }
        var hash: UInt64 = 14_695_981_039_346_656_037
        for byte in "\(role) \(operation) \(answer.name)".utf8 { hash = (hash ^ UInt64(byte)) &* 1_099_511_628_211 }
        let number = Int(truncatingIfNeeded: hash % UInt64(count)) + 1
        // Of servers that only hand out credentials, one call reaches what all reach.
        guard count > 1, role.stores || operation == .import else { return [.from(1)] }
        return [.from(1), hash & 1024 == 0 ? .from(number) : .only(number)]
    }

    // MARK: One call

    /// - Returns: How often the server of this role was asked.
    @discardableResult private func perform(_ call: Call) async throws -> Int {
        let name =
            "\(call.operation), while \(role.rawValue) answers \(call.turn) with \(call.answer?.name ?? "what is proper")"
        let service = call.operation == .export ? try role.makeService() : try await filledService()
        state.withLock { $0.running[name] = ContinuousClock.now }
        journal.note("begin", name)
        let asked = Mutex((role: 0, all: 0, removals: 0))
        let stolen = Mutex<[String]>([])
        let clock = ImmediateClock()
        var found: [String] = []
        try await RawServer.run { request in
            let headers = request.headers.map { "\($0.key): \($0.value)" }.joined(separator: "\n")
            let body = String(decoding: try await request.bytes(), as: UTF8.self)
            stolen.withLock { $0.append("\(request.method) \(request.target)\n\(headers)\n\(body)") }
            return .proper(ServerResponse(200, json: #"{"token":"t","access_token":"t","expires_in":3600}"#))
        } _: { other in
            try await RawServer.run { request in
                let isAsked = self.role.isAsked(request)
                let number = asked.withLock { asked in
                    asked.all += 1
                    if isAsked { asked.role += 1 }
                    return asked.role
                }
                let proper: @Sendable () async throws -> ServerResponse = {
                    if request.method == "DELETE" { asked.withLock { $0.removals += 1 } }
                    return try await service.respond(request)
                }
                guard isAsked, let answer = call.answer, call.turn.includes(number) else {
                    return .proper(try await proper())
                }
                return try await answer.make(Exchange(request: request, number: number, other: other, proper: proper))
            } _: { address in
                found = try await self.outcome(of: call, service, address, clock)
            }
        }
        let seen = asked.withLock { $0 }
        for request in stolen.withLock({ $0 }) {
            let lower = request.lowercased()
            let headers = [
                "\nauthorization:", "\nx-amz-security-token:", "\nx-identity-header:", "\nx-aws-ec2-metadata-token:",
            ]
            if let secret = service.secrets.first(where: { request.contains($0) })
                ?? headers.first(where: { lower.contains($0) })
            {
                found.append("another host gets \(secret) with \(request)")
            }
        }
        if seen.all > Self.mostRequests { found.append("there are \(seen.all) requests") }
        let longest = clock.pauses.max() ?? .zero
        if longest > Self.longestPause { found.append("a pause is \(longest)") }
        for line in found { journal.note("finding", "\(name): \(line)") }
        if call.operation != .export, seen.removals == 0 { state.withLock { $0.filled.append(service) } }
        let memory = peakMemory() ?? 0
        let (isHigher, duration) = state.withLock { state in
            state.calls += 1
            state.requests += seen.all
            defer { state.peak = max(state.peak, memory) }
            return (
                memory > state.peak + (8 << 20),
                state.running.removeValue(forKey: name).map { ContinuousClock.now - $0 }
            )
        }
        journal.note("ended", name)
        if let duration, duration > .seconds(5) { journal.note("slow", "\(name): \(duration), \(seen.all) requests") }
        if isHigher { journal.note("memory", "\(memory >> 20) MiB after \(name)") }
        return seen.role
    }

    /// The faults of one call.
    private func outcome(of call: Call, _ service: Service, _ address: String, _ clock: ImmediateClock) async throws
        -> [String]
    {
        let lines = LogLines()
        let progress = ProgressLog()
        var found: [String] = []
        var texts: [String] = []
        try await HTTPTransport.withTransport(environment: .empty) { transport in
            var transport = transport
            transport.logger = lines.logger
            transport.retryClock = clock
            (transport.listLimits.pages, transport.listLimits.entries) = (20, 100)
            if call.answer != nil {
                // Half a second, and a second.
                (transport.stallTimeout, transport.responseTimeout) = (.seconds(10), .seconds(10))
                transport.documentTimeout = .seconds(20)
                transport.retry.attempts = 3
                transport.clock = HurriedClock(times: 20)
            }
            let settled = transport
            try await ScratchStore.withTemporary { scratch in
                let site = Site(address: address, transport: settled, scratch: scratch, clock: clock)
                do {
                    let cache = try service.cache("main", site)
                    texts = try await self.result(of: call.operation, cache, progress.sink)
                    let isSilent = !progress.events.contains { if case .problem = $0 { true } else { false } }
                    if isSilent, case .from(1) = call.turn, call.answer?.isLegal == false {
                        found.append("it succeeds without a problem: \(texts)")
                    }
                } catch let error as CacheError {
                    if call.answer == nil { throw error }
                    var dumped = ""
                    dump(error, to: &dumped)
                    texts += [error.description, error.debugDescription, dumped]
                    if error.message.utf8.count > 4100 {
                        found.append("its message has \(error.message.utf8.count) bytes")
                    }
                } catch let error as WrongBytes {
                    found.append("it reads \(error.count) bytes that are not those of the layer")
                } catch {
                    found.append("its error is a \(type(of: error)): \(error)")
                }
            }
        }
        texts += lines.all + progress.events.map { "\($0)" }
        for secret in service.secrets {
            if let text = texts.first(where: { $0.contains(secret) }) {
                found.append("a text shows \(secret): \(text)")
            }
        }
        return found
    }

    private struct WrongBytes: Error { var count: Int }

    /// A month from now, when all that is there is old.
    private static var later: Timestamp { Timestamp(seconds: Timestamp.now().seconds + 30 * 86_400) ?? .zero }

    /// Runs a call.
    ///
    /// - Returns: What it says about its success.
    private func result(
        of operation: Operation, _ cache: any PrunableBackend, _ progress: ProgressSink
    ) async throws -> [String] {
        switch operation {
        case .export:
            let receipt = try await cache.exportCache(sample.graph, from: sample.source, progress: progress)
            return ["\(receipt)"]
        case .import:
            guard let imported = try await cache.importCache(progress: progress) else { return ["a miss"] }
            defer { imported.close() }
            for layer in sample.layers {
                var bytes: [UInt8] = []
                for try await chunk in try await imported.blobs.open(layer.descriptor, range: nil) {
                    bytes += chunk.readableBytesView
                }
                guard bytes == layer.stored else { throw WrongBytes(count: bytes.count) }
            }
            return ["\(imported.problems)"]
        case .prune:
            let plan = try await cache.planPrune(Retention(maximumCount: 0), now: Self.later)
            let report = try await cache.prune(plan, progress: progress)
            return ["\(plan.problems) \(report.problems)"]
        }
    }

    /// Servers with two caches.
    private func filledService() async throws -> Service {
        if let service = state.withLock({ $0.filled.popLast() }) { return service }
        let service = try role.makeService()
        try await RawServer.run {
            .proper(try await service.respond($0))
        } _: { address in
            try await HTTPTransport.withTransport(environment: .empty) { transport in
                try await ScratchStore.withTemporary { scratch in
                    let site = Site(address: address, transport: transport, scratch: scratch, clock: ImmediateClock())
                    for (name, sample) in [("other", try SampleCache.step("other")), ("main", sample)] {
                        _ = try await service.cache(name, site).exportCache(
                            sample.graph, from: sample.source, progress: .discarded)
                    }
                }
            }
        }
        return service
    }

    // MARK: Limits

    /// Ends the process when a call does not end.
    private func watch() async throws {
        while true {
            try await ContinuousClock().sleep(for: .seconds(1))
            let stuck = state.withLock { state in
                state.running.filter { ContinuousClock.now - $0.value > Self.patience }.map(\.key)
            }
            guard stuck.isEmpty else {
                for name in stuck { journal.note("finding", "\(name): it does not end") }
                exit(3)
            }
        }
    }
}

/// The most bytes that this process has had in memory, where the system tells.
private func peakMemory() -> Int? {
    guard let status = try? String(contentsOfFile: "/proc/self/status", encoding: .utf8),
        let line = status.split(separator: "\n").first(where: { $0.hasPrefix("VmHWM:") }),
        let kibibytes = line.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap({ Int($0) })
    else { return nil }
    return kibibytes << 10
}
