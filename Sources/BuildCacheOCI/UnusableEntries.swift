package import BuildCacheCore

/// The entries of a document's lists that a reader left out, such as a manifest with a SHA-512 digest among others.
///
/// One entry that this package cannot use says nothing of the others: the image-spec has readers pass over what they do not know.
package struct UnusableEntries: Sendable {
    // A document has room for half a million of them, and people read a few.
    private static let maximumErrors = 8

    /// The number of entries left out.
    package private(set) var count = 0
    /// The errors of the first eight.
    package private(set) var errors: [CacheError] = []
    private var firsts: [CacheError.Code: CacheError] = [:]

    package init() {}

    /// The first error of this code, however many others came before it.
    package func first(_ code: CacheError.Code) -> CacheError? { firsts[code] }

    /// One line per error, each beginning with `subject`, and one for those without.
    package func warnings(about subject: String) -> [String] {
        let lines = errors.map { "\(subject) is left out: \($0)" }
        return count > errors.count ? lines + ["\(subject) is left out: \(count - errors.count) more"] : lines
    }

    mutating func note(_ error: CacheError) {
        count += 1
        if firsts[error.code] == nil { firsts[error.code] = error }
        if errors.count < UnusableEntries.maximumErrors { errors.append(error) }
    }

    mutating func note(_ others: UnusableEntries) {
        for error in others.errors { note(error) }
        count += others.count - others.errors.count
        firsts.merge(others.firsts) { first, _ in first }
    }
}
