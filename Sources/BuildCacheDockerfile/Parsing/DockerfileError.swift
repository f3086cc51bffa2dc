import BuildCacheCore

extension CacheError {
    /// A fault of a line.
    ///
    /// - Parameter code: `.invalidSpec` for what no Dockerfile may have, `.unsupported` for what this module does not convert.
    static func line(_ number: Int, _ problem: String, code: Code = .invalidSpec) -> CacheError {
        CacheError(code, "\(linePrefix)\(number): \(problem)")
    }

    /// The same fault with the number of its line in front, unless it has one.
    func atLine(_ number: Int) -> CacheError {
        message.hasPrefix(CacheError.linePrefix) ? self : .line(number, message, code: code)
    }

    private static let linePrefix = "Dockerfile line "
}
