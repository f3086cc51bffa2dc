import BuildCacheCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// System calls whose failures become a `CacheError`.
enum SystemCall {
    /// The error of the call that failed just now.
    static func failure(_ action: String, _ path: [UInt8]) -> CacheError {
        let code = errno
        let reason = String(cString: strerror(code)).lowercased()
        let kind: CacheError.Code =
            switch code {
            case ENOENT, ENOTDIR: .notFound
            case EACCES, EPERM: .denied
            case ENAMETOOLONG, ELOOP: .corrupted
            default: .unavailable
            }
        return CacheError(
            kind, "cannot \(action) \(path.shown): \(reason)", retry: kind == .unavailable ? .worthwhile : .never)
    }

    static func withPath<Value>(_ path: [UInt8], _ body: (UnsafePointer<CChar>) -> Value) -> Value {
        (path + [0]).withUnsafeBufferPointer { buffer in
            buffer.withMemoryRebound(to: CChar.self) { chars in
                // A buffer that ends with a zero byte is not empty.
                chars.baseAddress.map(body) ?? body("")
            }
        }
    }

    /// One call of `read`, repeated if a signal interrupts it.
    static func read(_ file: Int32, _ buffer: UnsafeMutableRawBufferPointer) -> Int {
        while true {
            #if canImport(Glibc)
                let count = Glibc.read(file, buffer.baseAddress, buffer.count)
            #elseif canImport(Musl)
                let count = Musl.read(file, buffer.baseAddress, buffer.count)
            #else
                let count = Darwin.read(file, buffer.baseAddress, buffer.count)
            #endif
            if count >= 0 || errno != EINTR { return count }
        }
    }
}
