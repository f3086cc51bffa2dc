import BuildCacheClient
import Testing

@Suite("Work on many elements at once")
struct ConcurrencyTests {
    @Test("ends with the last element, however many may be worked on", arguments: [Int.min, 0, 1, 3, 1 << 40, .max])
    func ends(_ limit: Int) async throws {
        #expect(try await (0..<5).mapConcurrently(limit: limit) { $0 * 2 } == [0, 2, 4, 6, 8])
        #expect(try await [Int]().mapConcurrently(limit: limit) { $0 } == [])
    }
}
