import BuildCacheCore
import CFiles

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// Extended attributes of files, by path or by descriptor.
enum FileAttributes {
    /// The attributes of a file, links not followed.
    static func of(_ path: [UInt8]) throws(CacheError) -> [[UInt8]: [UInt8]] {
        try all(
            path, list: { buffer, size in SystemCall.withPath(path) { files_list_attributes_of($0, buffer, size) } },
            value: { name, buffer, size in
                SystemCall.withPath(path) { path in
                    SystemCall.withPath(name) { files_get_attribute_of(path, $0, buffer, size) }
                }
            })
    }

    /// The attributes of an open file.
    static func of(open file: Int32, _ path: [UInt8]) throws(CacheError) -> [[UInt8]: [UInt8]] {
        try all(
            path, list: { buffer, size in files_list_attributes(file, buffer, size) },
            value: { name, buffer, size in
                SystemCall.withPath(name) { files_get_attribute(file, $0, buffer, size) }
            })
    }

    /// All attributes but those of Apple's file systems, which clients do not send.
    private static func all(
        _ path: [UInt8], list: (UnsafeMutablePointer<CChar>?, Int) -> Int,
        value: ([UInt8], UnsafeMutableRawPointer?, Int) -> Int
    ) throws(CacheError) -> [[UInt8]: [UInt8]] {
        // Nearly all files have none, which one call tells.
        let needed = list(nil, 0)
        guard needed > 0 else {
            guard needed < 0, errno != ENOTSUP else { return [:] }
            throw SystemCall.failure("list the attributes of", path)
        }
        let names = try bytes { list($0?.assumingMemoryBound(to: CChar.self), $1) }
        guard let names else { throw SystemCall.failure("list the attributes of", path) }
        var found: [[UInt8]: [UInt8]] = [:]
        for name in names.split(separator: 0).map({ Array($0) }) where !name.starts(with: "com.apple.".utf8) {
            guard let bytes = try bytes({ value(name, $0, $1) }) else {
                throw SystemCall.failure("read an attribute of", path)
            }
            found[name] = bytes
        }
        return found
    }

    /// The bytes that a call writes, asked again for as long as they are more than before.
    private static func bytes(
        _ call: (UnsafeMutableRawPointer?, Int) -> Int
    ) throws(CacheError) -> [UInt8]? {
        for _ in 0..<8 {
            let size = call(nil, 0)
            guard size > 0 else { return size == 0 ? [] : nil }
            guard size <= 1 << 24 else { throw CacheError(.limitExceeded, "an attribute has more than 16 MiB") }
            var bytes = [UInt8](repeating: 0, count: size)
            let count = bytes.withUnsafeMutableBytes { call($0.baseAddress, size) }
            if count >= 0 { return Array(bytes.prefix(count)) }
            guard errno == ERANGE else { return nil }
        }
        return nil
    }
}
