import Foundation
import FuzzTargets
import Testing

@Suite("An input that a fuzzer found once")
struct FuzzCorpusTests {
    /// One file of the corpus.
    struct Input: Sendable, CustomTestStringConvertible {
        let target: FuzzTarget
        let name: String
        let bytes: [UInt8]
        var testDescription: String { "\(target.name)/\(name)" }

        static let all: [Input] = FuzzTarget.all.flatMap { target in
            let folder = "\(corpus)/\(target.name)"
            let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
            return names.sorted().map { name in
                let data = FileManager.default.contents(atPath: "\(folder)/\(name)") ?? Data()
                return Input(target: target, name: name, bytes: Array(data))
            }
        }
    }

    private static let corpus = URL(filePath: #filePath).deletingLastPathComponent()
        .appending(path: "../../Fuzz/Corpus").standardizedFileURL.path

    @Test("is read or refused as any other", .timeLimit(.minutes(10)), arguments: Input.all)
    func isReadOrRefused(_ input: Input) async throws { try await input.target.run(input.bytes) }

    @Test("belongs to a target that exists")
    func belongsToTarget() throws {
        let folders = try FileManager.default.contentsOfDirectory(atPath: Self.corpus).filter { !$0.hasPrefix(".") }
        #expect(Set(folders).subtracting(FuzzTarget.all.map(\.name)) == [])
    }
}
