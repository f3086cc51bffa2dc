import BuildCacheCore

/// The texts in a JSON object, as sources of credentials answer with.
enum JSONText {
    /// Texts and numbers by their names in lower case; what else is in there is left out.
    ///
    /// - Throws: `CacheError` `.corrupted`, which repeats nothing of the object: there are secrets in it.
    static func values(_ bytes: [UInt8], _ source: String) throws(CacheError) -> [String: String] {
        do {
            return try JSONReader.read(bytes, as: "answer") { reader throws(CacheError) in
                var values: [String: String] = [:]
                guard try reader.beginObject() else { return values }
                while let key = try reader.nextKey() {
                    switch reader.peek() {
                    case UInt8(ascii: "\""): values[key.text.lowercased()] = try reader.string()
                    case UInt8(ascii: "0")...UInt8(ascii: "9"):
                        values[key.text.lowercased()] = "\(try reader.integer())"
                    default: try reader.skipValue()
                    }
                }
                return values
            }
        } catch {
            throw CacheError(.corrupted, "\(source) answers with something else than a JSON object")
        }
    }
}
