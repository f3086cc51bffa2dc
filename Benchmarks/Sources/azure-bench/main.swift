// Compares uploads to and downloads from Azure's protocol with Microsoft's Python client, and times an export to GitHub's with slow answers.
//
//     swift run -c release azure-bench [turns] [directory]
//
// The servers run in a process of their own and keep what they get in memory. Each side is a process of its own that reads files and
// writes files, in turns, and the middle ratio counts. Needs python3 with azure-storage-blob. Fails if a threshold is crossed.

import BenchSupport
import BuildCache
import BuildCacheTestServers
import Foundation

let arguments = Array(CommandLine.arguments.dropFirst())
switch arguments.first {
case "serve-azure":
    try await AzureBlobServer().run { server, url in announce([url.base, server.account, server.key.exposed]) }
case "serve-github":
    try await GitHubCacheServer().run { server, url in
        server.faults.delayAnswers(by: .milliseconds(50))
        announce([url.base, server.token(lasts: 36_000).exposed])
    }
case "up", "down":
    try await move(up: arguments[0] == "up", arguments[1], arguments[2])
default:
    let turns = arguments.first.flatMap { Int($0) } ?? 3
    let parent = arguments.dropFirst().first ?? NSTemporaryDirectory()
    let folder = parent + "/build-cache-azure-bench-\(UUID().uuidString)"
    let isGood = try await withTemporaryFolder(folder) {
        let isFast = try compareWithPython(turns: turns, in: folder)
        return try await timeGitHub(turns: turns, in: folder) && isFast
    }
    if !isGood {
        print("a threshold was crossed")
        exit(1)
    }
}
