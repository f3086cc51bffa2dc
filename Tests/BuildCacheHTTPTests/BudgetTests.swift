import BuildCacheHTTP
import Testing

@Suite("A budget")
struct BudgetTests {
    @Test("lets those wait who want more than is left, in the order they came")
    func order() async throws {
        let budget = Budget(100)
        try await budget.acquire(60)
        // More than there ever is: its turn comes when nobody holds any.
        let large = Task { try await budget.acquire(500) }
        await waitUntil { budget.waiting == 1 }
        let small = Task { try await budget.acquire(10) }
        await waitUntil { budget.waiting == 2 }
        let leaving = Task { try await budget.acquire(1) }
        await waitUntil { budget.waiting == 3 }
        leaving.cancel()
        await #expect(throws: CancellationError.self) { try await leaving.value }
        budget.release(60)
        try await large.value
        #expect(budget.waiting == 1)
        budget.release(500)
        try await small.value
    }

    private func waitUntil(_ condition: () -> Bool) async { while !condition() { await Task.yield() } }
}
