import BuildCacheCore

/// Limits of a list that a service returns in pages.
package struct ListLimits: Hashable, Sendable {
    /// The most pages; default 10 000.
    package var pages = 10_000
    /// The most entries; default a million.
    package var entries = 1_000_000
    /// The most bytes of the entries' names; default 128 MiB.
    package var bytes = 128 << 20
    /// The longest time for all pages; default 15 minutes.
    package var duration = Duration.seconds(900)

    package init() {}
}

/// Reads a list to its end, page by page, within limits: a service that always names another page is an error.
package struct Paginator: Sendable {
    /// One page of a list.
    package struct Page<Entry: Sendable, Place: Equatable & Sendable>: Sendable {
        package var entries: [Entry]
        /// The place at which the next page begins, `nil` if this is the last.
        package var next: Place?

        package init(_ entries: [Entry], next: Place?) {
            self.entries = entries
            self.next = next
        }
    }

    /// As errors call the list, as in `the list of tags`.
    private let list: String
    private let limits: ListLimits
    private let clock: any Clock<Duration>

    /// - Parameter transport: The connections that pages come over, with their limits and clock.
    package init(_ list: String, _ transport: HTTPTransport) {
        self.list = list
        limits = transport.listLimits
        clock = transport.clock
    }

    /// All entries of the list.
    ///
    /// - Parameters:
    ///   - first: Where the list begins; `nil` for a service that takes no place for that.
    ///   - name: The text of an entry that its size is measured by.
    ///   - read: Reads the page at a place.
    /// - Throws: `CacheError` `.limitExceeded` past the limits, `.unsupported` if a page is its own next one; what `read` throws.
    package func entries<Entry, Place>(
        from first: Place?, name: @escaping @Sendable (Entry) -> String,
        _ read: @escaping @Sendable (_ place: Place?) async throws -> Page<Entry, Place>
    ) async throws -> [Entry] {
        do {
            return try await withTimeLimit(limits.duration, clock: clock) {
                var entries: [Entry] = []
                var bytes = 0
                var place = first
                for _ in 0..<limits.pages {
                    let page = try await read(place)
                    guard page.entries.count <= limits.entries - entries.count else {
                        throw tooLarge("\(limits.entries) entries")
                    }
                    for entry in page.entries { bytes += name(entry).utf8.count }
                    guard bytes <= limits.bytes else { throw tooLarge("\(limits.bytes) bytes") }
                    entries += page.entries
                    guard let next = page.next else { return entries }
                    guard next != place else {
                        throw CacheError(
                            .unsupported,
                            "\(list) comes in pages, and one of them names itself as the next; expected another")
                    }
                    place = next
                }
                throw tooLarge("\(limits.pages) pages")
            }
        } catch let error as TimeLimitPassed {
            throw CacheError(
                .limitExceeded, "\(list) took longer than the limit of \(error.limit); remove entries or try later")
        }
    }

    private func tooLarge(_ limit: String) -> CacheError {
        CacheError(
            .limitExceeded, "\(list) is longer than the limit of \(limit); remove entries, or use another prefix")
    }
}
