extension JSONReader {
    /// What `body` reads from `bytes`; nothing but space may follow.
    ///
    /// - Parameter document: What the bytes are, as in "cache config".
    package static func read<Value>(
        _ bytes: [UInt8], as document: StaticString, _ body: (inout JSONReader) throws(CacheError) -> Value
    ) throws(CacheError) -> Value {
        try bytes.withUnsafeBufferPointer { (buffer) throws(CacheError) -> Value in
            var reader = JSONReader(UnsafeRawBufferPointer(buffer), document: document)
            let value = try body(&reader)
            try reader.finish()
            return value
        }
    }
}
