import BuildCacheCore
import BuildCacheHTTP
import Synchronization
import TestTools
import Testing

@Suite("A list that comes in pages")
struct PaginatorTests {
    /// Reads a list of a service that always has another page.
    private func read(
        _ limits: ListLimits, clock: any Clock<Duration> = ManualClock(),
        _ page: @escaping @Sendable (Int) async throws -> Paginator.Page<String, Int>
    ) async throws -> [String] {
        var transport = HTTPTransport.shared
        transport.listLimits = limits
        transport.clock = clock
        return try await Paginator("the list", transport).entries(from: 0, name: { $0 }) { try await page($0 ?? 0) }
    }

    private func expectLimit(_ limits: ListLimits, _ page: @escaping @Sendable (Int) -> [String]) async {
        let pages = Mutex(0)
        let error = await #expect(throws: CacheError.self) {
            try await read(limits) { place in
                pages.withLock { $0 += 1 }
                return Paginator.Page(page(place), next: place + 1)
            }
        }
        #expect(error?.code == .limitExceeded)
        #expect(pages.withLock { $0 } <= 101)
    }

    @Test("is read to its end")
    func reads() async throws {
        let entries = try await read(ListLimits()) { Paginator.Page(["\($0)"], next: $0 < 4 ? $0 + 1 : nil) }
        #expect(entries == ["0", "1", "2", "3", "4"])
    }

    @Test("ends at a limit on pages, entries or bytes, however often another page is named")
    func ends() async {
        var limits = ListLimits()
        limits.pages = 100
        await expectLimit(limits) { _ in [] }
        limits = ListLimits()
        limits.entries = 100
        await expectLimit(limits) { _ in ["a"] }
        await expectLimit(limits) { _ in [String](repeating: "a", count: 101) }
        limits = ListLimits()
        limits.bytes = 100
        await expectLimit(limits) { _ in ["aa"] }
    }

    @Test("ends at a limit on time, also in the middle of a page")
    func endsInTime() async throws {
        let clock = ManualClock()
        let reading = Task {
            try await read(ListLimits(), clock: clock) { _ in
                for await _ in AsyncStream<Never>.makeStream().stream {}
                throw CancellationError()
            }
        }
        await clock.step()
        let error = await #expect(throws: CacheError.self) { try await reading.value }
        #expect(error?.code == .limitExceeded)
        #expect(clock.now.offset == .seconds(900))
    }

    @Test("is an error if a page names itself as the next")
    func repeats() async {
        let error = await #expect(throws: CacheError.self) {
            try await read(ListLimits()) { Paginator.Page(["a"], next: min($0 + 1, 3)) }
        }
        #expect(error?.code == .unsupported)
    }
}
