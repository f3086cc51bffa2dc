import Foundation
import Testing

@Suite("A page that names the tests of its promises")
struct PromiseTests {
    private static let package = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    @Test(
        "names only tests that exist",
        arguments: ["SECURITY.md", "Documentation/Architecture.md", "Documentation/Testing.md"])
    func names(_ page: String) throws {
        let text = try String(contentsOf: Self.package.appending(path: page), encoding: .utf8)
        let named = Set(text.matches(of: /`([A-Z][A-Za-z0-9]*(?:Tests|Checks|Conformance))`/).map { String($0.1) })
        #expect(!named.isEmpty)
        // A page may also mean a whole package.
        var found = Set(try FileManager.default.contentsOfDirectory(atPath: Self.package.path))
        for folder in ["Tests", "IntegrationTests/Sources", "IntegrationTests/Tests", "Sources"] {
            let files = FileManager.default.enumerator(
                at: Self.package.appending(path: folder), includingPropertiesForKeys: nil)
            while let file = files?.nextObject() as? URL {
                // A page may also mean all tests of a module.
                found.insert(file.lastPathComponent)
                guard file.pathExtension == "swift" else { continue }
                let source = try String(contentsOf: file, encoding: .utf8)
                found.formUnion(source.matches(of: /(?:struct|class|enum) (\w+)/).map { String($0.1) })
            }
        }
        #expect(named.subtracting(found) == [])
    }

    @Test("is there where a comment cites it")
    func citations() throws {
        let files = FileManager.default
        var cited: Set<String> = []
        for folder in ["Sources", "Tests", "IntegrationTests/Sources", "IntegrationTests/Tests", "Documentation"] {
            let found = files.enumerator(at: Self.package.appending(path: folder), includingPropertiesForKeys: nil)
            while let file = found?.nextObject() as? URL {
                guard ["swift", "md"].contains(file.pathExtension) else { continue }
                let text = try String(contentsOf: file, encoding: .utf8)
                cited.formUnion(text.matches(of: /Documentation\/Spec\/[a-z-]+\.md/).map { String($0.output) })
            }
        }
        #expect(!cited.isEmpty)
        #expect(cited.filter { !files.fileExists(atPath: Self.package.appending(path: $0).path) } == [])
    }
}
