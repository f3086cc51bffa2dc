/// Words whose quotes stay, as of `ENV` and `ARG`.
enum InstructionWords {
    static func split(_ text: Text, _ escape: Unicode.Scalar) -> [Text] {
        var words: [Text] = []
        var word: Text = []
        var isWord = false
        var quote: Unicode.Scalar?
        var index = 0
        while index < text.count {
            let scalar = text[index]
            index += 1
            if quote == nil, scalar.isSpace {
                if isWord { words.append(word) }
                word = []
                isWord = false
                continue
            }
            if scalar == escape, quote != "'" {
                // An escape at the end is dropped.
                guard index < text.count else { break }
                word += [scalar, text[index]]
                isWord = true
                index += 1
                continue
            }
            if quote == nil, scalar == "'" || scalar == "\"" {
                quote = scalar
            } else if scalar == quote {
                quote = nil
            }
            word.append(scalar)
            isWord = true
        }
        return isWord ? words + [word] : words
    }
}
