import BuildCacheCore

/// Transforms values on ``Workers/processors``, up to `limit` of them at a time, and delivers the results in order.
///
/// At most `limit` values are held between `next` and `deliver`. The first error, or cancellation, stops taking values;
/// what is being transformed then is waited for and thrown away.
func transformInOrder<Input: Sendable, Output: Sendable>(
    limit: Int,
    next: () async throws -> Input?,
    transform: @escaping @Sendable (Input) throws(CacheError) -> Output,
    deliver: (Output) async throws -> Void
) async throws {
    try await withThrowingTaskGroup(of: (Int, Output).self) { group in
        var taken = 0
        var delivered = 0
        var isAtEnd = false
        var finished: [Int: Output] = [:]
        while true {
            while !isAtEnd, taken - delivered < limit {
                try Task.checkCancellation()
                guard let value = try await next() else {
                    isAtEnd = true
                    break
                }
                let index = taken
                group.addTask {
                    try Task.checkCancellation()
                    return (index, try await Workers.processors.run { () throws(CacheError) in try transform(value) })
                }
                taken += 1
            }
            guard let (index, output) = try await group.next() else { return }
            finished[index] = output
            while let output = finished.removeValue(forKey: delivered) {
                try await deliver(output)
                delivered += 1
            }
        }
    }
}
