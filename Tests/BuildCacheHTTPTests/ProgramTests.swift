import BuildCacheCore
import BuildCacheHTTP
import Foundation
import TestTools
import Testing

@Suite("A program that prints credentials", .timeLimit(.minutes(10)))
struct ProgramTests {
    @Test("reads its input and is heard")
    func runs() async throws {
        let text = String(repeating: "x", count: 4096)
        let ending = try await CredentialProgram(name: "cat", path: "/bin/cat").run([], input: text)
        #expect(ending.isSuccess && ending.output == Array(text.utf8))
        let error = await #expect(throws: CacheError.self) {
            try await CredentialProgram(name: "cat", path: "/bin/cat").run([], input: text + "x")
        }
        #expect(error?.code == .limitExceeded)
    }

    @Test("is stopped when it takes longer than its limit, as one does that waits for a person")
    func limit() async throws {
        let clock = ManualClock()
        var program = CredentialProgram(name: "the helper", path: "/bin/sh")
        program.clock = clock
        let waiting = program
        let run = Task { try await waiting.run(["-c", "read answer < /dev/zero"]) }
        await clock.step()
        let error = await #expect(throws: CacheError.self) { try await run.value }
        #expect(error?.code == .unavailable)
        #expect(error?.message.hasPrefix("the helper did not end within 60.0 seconds") == true)
        #expect(clock.now.offset == .seconds(60))
    }

    @Test("is not waited for when it has ended and a program that it started has not")
    func daemon() async throws {
        let folder = try TemporaryDirectory()
        let path = "\(folder.path)/pipe"
        try #require(mkfifo(path, 0o600) == 0)
        // Keeps the daemon, which has the output of the program, until the end of the test.
        let writer = open(path, O_RDWR)
        defer { close(writer) }
        let ending = try await CredentialProgram(name: "the helper", path: "/bin/sh").run([
            "-c", "cat \"$0\" & echo secret", path,
        ])
        #expect(ending.isSuccess && ending.output == Array("secret\n".utf8))
    }

    @Test("that cannot be run is an error without its arguments")
    func missing() async {
        let error = await #expect(throws: CacheError.self) {
            try await CredentialProgram(name: "the helper", path: "/nowhere/helper").run(["hunter2"])
        }
        #expect(error?.code == .unavailable)
        #expect(error?.cause == nil)
        #expect(error?.debugDescription.contains("hunter2") == false)
    }
}
