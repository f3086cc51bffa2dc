extension Sequence where Element: Sendable {
    /// Runs `body` for every element, `limit` at a time, and returns what it returned in the order of the elements.
    ///
    /// The window refills as each call ends, so that none waits for the slowest of a batch. The first failure cancels the rest and is
    /// rethrown after all have ended.
    package func mapConcurrently<Value: Sendable>(
        limit: Int, _ body: @escaping @Sendable (Element) async throws -> Value
    ) async throws -> [Value] {
        var waiting = makeIterator()
        var started = 0
        var values: [Int: Value] = [:]
        try await withThrowingTaskGroup(of: (Int, Value).self) { group in
            @discardableResult func startNext() -> Bool {
                guard let element = waiting.next() else { return false }
                let number = started
                started += 1
                group.addTask { (number, try await body(element)) }
                return true
            }
            // A limit may be any number, far above that of the elements.
            while started < Swift.max(1, limit), startNext() {}
            while let (number, value) = try await group.next() {
                values[number] = value
                startNext()
            }
        }
        return (0..<started).compactMap { values[$0] }
    }
}
