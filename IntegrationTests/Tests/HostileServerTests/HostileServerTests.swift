import Foundation
@testable import TestTools
import Testing

/// A server that answers each request with each hostile answer; `Tests/HostileProbe` is what asks and answers.
///
/// One process for each server, because a crash of the library would end all tests, and because memory is measured by process. Of each call
/// the first request gets each answer, and one other that is chosen by name; all of them do with `BUILD_CACHE_HOSTILE=all`.
@Suite("Whatever a server answers", .timeLimit(.minutes(60)))
struct HostileServerTests {
    /// As `Role` of the probe calls them.
    static let roles = [
        "registry", "registryInParts", "registryTokens", "bucket", "securityTokens", "containerCredentials",
        "instanceMetadata", "account", "signedAccount", "entra", "managedIdentity", "azureMetadata", "github1",
        "github2",
        "githubAPI",
    ]
    /// Bytes that the process of a role may have in memory, servers and tests included.
    private static let memory = 256 << 20

    @Test(
        "an export, an import and a prune end with a typed error or a success, without a secret elsewhere, in 256 MiB",
        arguments: roles)
    func calls(_ role: String) async throws {
        let directory = try TemporaryDirectory()
        let journal = directory.path + "/journal"
        let amount = ProcessInfo.processInfo.environment["BUILD_CACHE_HOSTILE"] ?? ""
        var end: String?
        do {
            _ = try await Tool.built("HostileProbe").output([role, journal, amount])
        } catch let failure as ToolFailure {
            end = "\(failure.end)"
        }
        let lines = (try? String(contentsOfFile: journal, encoding: .utf8))?.split(separator: "\n") ?? []
        let notes = Dictionary(grouping: lines.map { $0.split(separator: "\t", maxSplits: 1).map { String($0) } }) {
            $0[0]
        }
        func texts(_ kind: String) -> [String] { (notes[kind] ?? []).compactMap { $0.last } }
        for text in texts("finding") { Issue.record("\(text)") }
        if let end {
            let open = Set(texts("begin")).subtracting(texts("ended"))
            Issue.record("the process ended with \(end) during: \(open.sorted().joined(separator: "; "))")
        }
        #expect(texts("end").count == 1)
        let peak = try #require(texts("peak").first.flatMap { Int($0) })
        #expect(peak <= Self.memory, "\(texts("memory"))")
    }
}
