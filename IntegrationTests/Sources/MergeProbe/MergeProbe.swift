// One of several jobs that export to one name at the same time, in a process of its own.
//
//     MergeProbe <scratch> <worker> <exports> <cache-to spec>
//
// The n-th export is one step named "<worker> <n>", written with WritePolicy.merge. Prints what went
// wrong, else nothing; problems to the standard error.

@testable import BuildCacheHTTP
@testable import BuildCacheGitHubActions
@testable import BuildCacheClient
@testable import BuildCache
@testable import BuildCacheTesting
@testable import TestTools
import Foundation

@main
struct MergeProbe {
    static func main() async throws {
        let arguments = Array(CommandLine.arguments.dropFirst())
        guard arguments.count == 4, let exports = Int(arguments[2]) else { throw ProbeError.usage }
        // Pauses for GitHub's limits are measured in seconds; here nobody has them.
        var github = GitHubActionsClient(environment: .empty)
        github.clock = HurriedClock(times: 10)
        let client = try CacheClient(
            cacheTo: [arguments[3]], environment: .empty, scratch: try await ScratchStore.open(at: arguments[0]),
            clients: BackendClients(gha: github, s3: S3Client(environment: .empty)), writePolicy: .merge)
        for number in 0..<exports {
            let sample = try SampleCache.step("\(arguments[1]) \(number)")
            do {
                let report = try await client.exportCaches(sample.graph, from: sample.source)
                try report.check()
                let problems = try report.outcomes.flatMap { try $0.result.get().problems }
                if !problems.isEmpty { try FileHandle.standardError.write(contentsOf: Data("\(problems)\n".utf8)) }
            } catch {
                return print("\(number): \(error)")
            }
        }
    }
}

enum ProbeError: Error { case usage }
