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

    @Test("keeps what the innermost layer said of its place")
    func adding() {
        let error = CacheError(.notFound, "gone", context: .init(subject: "a"))
            .adding(backend: "s3", operation: "import", subject: "b")
        #expect(error.description == "s3 import a: notFound: gone")
    }
}
