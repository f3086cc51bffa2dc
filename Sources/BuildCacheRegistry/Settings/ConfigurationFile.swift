import BuildCacheBytes
import BuildCacheCore
import NIOCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// Small files that say how registries are reached, and folders of them.
enum ConfigurationFile {
    /// The most bytes of a file, 4 MiB.
    static let sizeLimit: Int64 = 4 << 20
    /// The most entries of a folder.
    static let entryLimit = 10_000

    /// The bytes of a file.
    ///
    /// - Returns: `nil` if the file does not exist.
    /// - Throws: `CacheError` `.denied`, `.corrupted` if it is not a regular file, `.limitExceeded` past ``sizeLimit``, `.unavailable`.
    static func read(_ path: String) async throws(CacheError) -> [UInt8]? {
        do {
            return try await Workers.files.run { () throws(CacheError) in
                let file = try OpenFile(reading: path)
                guard file.size <= sizeLimit else {
                    throw CacheError(.limitExceeded, "\(path) has \(file.size) bytes: expected at most \(sizeLimit)")
                }
                return Array(try file.read(0..<file.size).readableBytesView)
            }
        } catch {
            if error.code == .notFound { return nil }
            throw error
        }
    }

    /// The names in a folder, sorted.
    ///
    /// - Returns: `nil` if the folder does not exist, or is a file.
    /// - Throws: `CacheError` `.denied`, `.limitExceeded` past ``entryLimit``, `.unavailable`.
    static func names(in folder: String) async throws(CacheError) -> [String]? {
        do {
            return try await Workers.files.run { () throws(CacheError) in
                guard let listing = opendir(folder) else { throw cacheError(errno: errno, "open \(folder)") }
                defer { closedir(listing) }
                var names: [String] = []
                while let entry = readdir(listing) {
                    let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
                    }
                    guard name != ".", name != ".." else { continue }
                    guard names.count < entryLimit else {
                        throw CacheError(.limitExceeded, "\(folder) has more than \(entryLimit) entries")
                    }
                    names.append(name)
                }
                return names.sorted()
            }
        } catch {
            if error.code == .notFound { return nil }
            throw error
        }
    }
}
