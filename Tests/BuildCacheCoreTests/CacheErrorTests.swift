import BuildCacheCore
import Testing

@Suite("An error")
struct CacheErrorTests {
    @Test("is one line without control characters, whatever the text from outside in it")
    func oneLine() {
        let context = CacheError.Context(backend: "local", subject: "sha256:\n2026-11-23 all is well")
        let error = CacheError(.corrupted, "the tag is \u{1B}[31m\u{202E}red\r\n", context: context)
        #expect(
            error.description
                == #"local sha256:\n2026-11-23 all is well: corrupted: the tag is \u{1b}[31m\u{202e}red\r\n"#)
        #expect(error.debugDescription.contains("\n") == false)
    }

    @Test("has no control, format or bidirectional character in its message, however that was set")
    func message() {
        var error = CacheError(.denied, "\u{202E}a\u{9B}31m\u{200B}\n")
        #expect(error.message == #"\u{202e}a\u{9b}31m\u{200b}\n"#)
        error.message += "; b\r\u{7}"
        #expect(error.message == #"\u{202e}a\u{9b}31m\u{200b}\n; b\r\u{7}"#)
        #expect(CacheError(.denied, "größer als 日本").message == "größer als 日本")
    }

    @Test("has a message of at most 4096 bytes and an ellipsis, however that was set, and a place that is as long")
    func longMessages() {
        let text = String(repeating: "ä", count: 100_000)
        var error = CacheError(.denied, text, context: .init(subject: text))
        #expect(error.message.utf8.count == 4096 + 3)
        error.message += "; b"
        #expect(error.message.utf8.count == 4096 + 3)
        #expect(error.description.utf8.count < 9000)
    }

    @Test("shows a cause on one line, cut short, whatever its own words are")
    func causes() {
        struct Foreign: Error, CustomStringConvertible {
            var description: String { "one\ntwo\u{202E}\u{1B}[31m" + String(repeating: "x", count: 100_000) }
        }
        let error = CacheError(.unavailable, "outer", cause: CacheError(.denied, "inner", cause: Foreign()))
        let lines = error.debugDescription.split(separator: "\n")
        #expect(lines.count == 3)
        #expect(lines.last?.hasPrefix(#"  caused by one\ntwo\u{202e}\u{1b}[31mxx"#) == true)
        #expect(error.debugDescription.utf8.count < 2500)
    }

    @Test("cuts a text by bytes and between characters, as one character may have any number of bytes")
    func clips() {
        #expect("abc".clipped(toBytes: 3) == "abc")
        #expect("abcd".clipped(toBytes: 3) == "abc…")
        #expect("aé".clipped(toBytes: 2) == "a…")
        let stacked = "e" + String(repeating: "\u{301}", count: 30_000)
        #expect(stacked.count == 1)
        #expect(stacked.clipped(toBytes: 300).utf8.count <= 303)
    }

    @Test("keeps what the innermost layer said of its place")
    func adding() {
        let error = CacheError(.notFound, "gone", context: .init(subject: "a"))
            .adding(backend: "s3", operation: "import", subject: "b")
        #expect(error.description == "s3 import a: notFound: gone")
    }
}
