import BuildCacheCore
import BuildCacheHTTP
import TestTools
import Testing

@Suite("A number in XML")
struct XMLNumberTests {
    @Test("that refers to a character is that of one, or the document is corrupted", arguments: OutsideNumbers.strange)
    func references(_ text: String) {
        for form in ["&#\(text);", "&#x\(text);"] {
            do throws(CacheError) {
                let node = try XMLNode.parse(Array("<a>\(form)</a>".utf8))
                #expect(node.text.unicodeScalars.count == 1)
                #expect(text == "1" || text == "0" || node.text != "")
            } catch {
                #expect(error.code == .corrupted)
            }
        }
    }
}
