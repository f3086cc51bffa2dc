import BuildCacheCore

/// Arguments in the form of a JSON array, as of `RUN ["a", "b"]`.
enum JSONForm {
    /// The strings of the array; `nil` for arguments in another form.
    ///
    /// - Throws: `CacheError` `.invalidSpec` for an array with something else than strings.
    static func strings(_ arguments: Text) throws(CacheError) -> [Text]? {
        let text = Text(arguments.drop { $0.isSpace })
        guard text.first == "[" else { return nil }
        var strings: [Text] = []
        var hasOthers = false
        do {
            try JSONReader.read(Array(text.string.utf8), as: "arguments") { reader throws(CacheError) in
                guard try reader.beginArray() else { return }
                while try reader.nextElement() {
                    if reader.peek() == UInt8(ascii: "\""), let string = try reader.string() {
                        strings.append(Text(string))
                    } else {
                        try reader.skipValue()
                        hasOthers = true
                    }
                }
            }
        } catch {
            if error.code == .limitExceeded { throw error }
            // A shell has brackets, too.
            return nil
        }
        guard !hasOthers else {
            throw CacheError(.invalidSpec, "the arguments are a JSON array of something else than strings")
        }
        return strings
    }
}
