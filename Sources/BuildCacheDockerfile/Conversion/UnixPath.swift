import BuildCacheKeys

/// Paths of Linux as strings, with the rules of Go's `path`.
enum UnixPath {
    static func isAbsolute(_ path: String) -> Bool { path.utf8.first == UInt8(ascii: "/") }

    static func clean(_ path: String) -> String {
        String(decoding: BytePath.clean(Array(path.utf8)), as: UTF8.self)
    }

    /// The path below the root, cleaned.
    static func absolute(_ path: String) -> String { clean("/" + path) }

    /// The paths behind each other, cleaned; empty ones do not count.
    static func join(_ paths: String...) -> String {
        let parts = paths.filter { !$0.isEmpty }
        return parts.isEmpty ? "" : clean(parts.joined(separator: "/"))
    }

    static func base(_ path: String) -> String { String(decoding: BytePath.base(Array(path.utf8)), as: UTF8.self) }

    /// The path of a working directory: an absolute one as it is written, another below `parent`.
    ///
    /// - Source: BuildKit `util/system/path.go: NormalizePath`.
    static func normalize(_ path: String, parent: String) -> String {
        let parent = parent.isEmpty ? "/" : isAbsolute(parent) ? parent : join("/", parent)
        if path.isEmpty { return parent }
        return isAbsolute(path) ? path : join(parent, path)
    }

    /// The path of a destination, cleaned, but with the slash or the dot at its end, which say that it is a directory.
    static func destination(_ path: String, parent: String) -> String {
        var result = absolute(normalize(path, parent: parent))
        if path.utf8.last == UInt8(ascii: "/") {
            if result.utf8.last != UInt8(ascii: "/") { result += "/" }
        } else if path.utf8.elementsEqual(".".utf8) || path.isEmpty {
            if result.utf8.last != UInt8(ascii: "/") { result += "/" }
        } else if path.utf8.suffix(2).elementsEqual("/.".utf8) {
            if !result.utf8.elementsEqual("/".utf8) { result += "/" }
            result += "."
        }
        return result
    }
}
