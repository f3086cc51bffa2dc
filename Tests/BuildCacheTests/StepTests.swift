import BuildCache
import Foundation
import Synchronization
import TestTools
import Testing

@Suite("A build in a session")
struct StepTests {
    private let directory: TemporaryDirectory
    private let content = Digest(of: "sources".utf8)

    init() throws { directory = try TemporaryDirectory() }

    /// Builds two steps, one on the other, and returns the names of those that ran.
    private func build(
        _ operation: String = "make all", then end: @Sendable () throws -> Void = {}
    ) async throws -> (ran: [String], steps: [CachedStep]) {
        let ran = Mutex<[String]>([])
        let steps = try await withSession(
            from: ["type=local,src=\(directory.path)/cache"], to: ["type=local,dest=\(directory.path)/cache,mode=max"]
        ) { session in
            let base = try await session.step("copy", inputs: [.content(content)]) {
                ran.withLock { $0.append("copy") }
                return [.tar { BlobStream([UInt8](repeating: 0, count: 1024)) }]
            }
            let step = try await session.step(operation, inputs: [.step(base)]) {
                ran.withLock { $0.append(operation) }
                return base.layers + [.tar { BlobStream([UInt8](repeating: 0, count: 2048)) }]
            }
            try end()
            return [base, step]
        }
        return (ran.withLock { $0 }, steps)
    }

    @Test("runs each step once, and finds it the next time, with its source, its layers and its time")
    func runsOnce() async throws {
        let first = try await build()
        #expect(first.ran == ["copy", "make all"])
        #expect(first.steps.allSatisfy { !$0.isCached && $0.source == nil })
        let second = try await build()
        #expect(second.ran == [])
        #expect(second.steps.allSatisfy { $0.isCached && $0.source?.contains("type=local") == true })
        #expect(second.steps.map(\.layers.count) == [1, 2])
        #expect(second.steps.allSatisfy { $0.duration > .zero })
    }

    @Test("runs a step whose operation is another one, and keeps those below it")
    func changedOperation() async throws {
        _ = try await build()
        #expect(try await build("make tests").ran == ["make tests"])
    }

    @Test("exports nothing if it throws, and the error is its own")
    func throwing() async throws {
        struct Broken: Error {}
        await #expect(throws: Broken.self) { try await build { throw Broken() } }
        #expect(!FileManager.default.fileExists(atPath: directory.path + "/cache"))
        #expect(try await build().ran == ["copy", "make all"])
    }

    @Test("fails if a cache cannot be written")
    func unwritable() async throws {
        let file = directory.path + "/file"
        try Data().write(to: URL(fileURLWithPath: file))
        let error = await #expect(throws: CacheError.self) {
            try await withSession(to: ["type=local,dest=\(file)/cache"]) { session in
                _ = try await session.step("a", inputs: [.content(content)]) {
                    [.tar { BlobStream([UInt8](repeating: 0, count: 1024)) }]
                }
            }
        }
        #expect(error != nil)
    }

    @Test("refuses a step without inputs, or with one of another session, and a result without layers")
    func refuses() async throws {
        let other = try await build().steps[0]
        try await withSession { session in
            for inputs in [[], [CachedStep.Input.step(other)]] {
                let error = await #expect(throws: CacheError.self) {
                    try await session.step("a", inputs: inputs) { [] }
                }
                #expect(error?.code == .invalidSpec)
            }
            let error = await #expect(throws: CacheError.self) {
                try await session.step("a", inputs: [.content(content)]) { [] }
            }
            #expect(error?.code == .invalidSpec)
        }
    }
}
