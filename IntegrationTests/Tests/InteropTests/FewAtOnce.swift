@testable import BuildCacheHTTP
import Testing

/// Runs at most eight cases at once of all tests that have this trait.
///
/// Fixtures, layouts and forms multiply to hundreds of cases, which otherwise all hold open files and memory at the same time.
struct FewAtOnce: TestTrait, SuiteTrait, TestScoping {
    private static let turns = Budget(8)

    let isRecursive = true

    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @concurrent @Sendable () async throws -> Void
    ) async throws {
        guard testCase != nil else { return try await function() }
        try await FewAtOnce.turns.acquire(1)
        defer { FewAtOnce.turns.release(1) }
        try await function()
    }
}

extension Trait where Self == FewAtOnce {
    static var fewAtOnce: Self { FewAtOnce() }
}
