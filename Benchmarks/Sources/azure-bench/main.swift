// Compares uploads to and downloads from Azure's protocol with Microsoft's Python client, and times an export to GitHub's with slow answers.
//
//     swift run -c release azure-bench [rounds]
//
// The servers run in a process of their own, so that both clients meet the same one. Each round does both, in turns; the best counts.

import BuildCache
import BuildCacheTestServers
import Foundation
import NIOCore

let arguments = CommandLine.arguments.dropFirst()
if arguments.first == "serve-azure" {
    try await serveAzure()
} else if arguments.first == "serve-github" {
    try await serveGitHub()
} else {
    let rounds = arguments.first.flatMap { Int($0) } ?? 3
    try await compareWithPython(rounds: rounds)
    try await timeGitHub(rounds: rounds)
}

// MARK: Servers, in a process of their own

/// Prints what a client needs, and waits until the other process closes its end.
func announce(_ words: [String]) {
    FileHandle.standardOutput.write(Data((words.joined(separator: " ") + "\n").utf8))
    _ = FileHandle.standardInput.readDataToEndOfFile()
}

func serveAzure() async throws {
    try await AzureBlobServer().run { server, url in announce([url.base, server.account, server.key.exposed]) }
}

func serveGitHub() async throws {
    try await GitHubCacheServer().run { server, url in
        server.faults.delayAnswers(by: .milliseconds(50))
        announce([url.base, server.token(lasts: 36_000).exposed])
    }
}

/// Runs a server for as long as `body` runs, and gives it what the server prints.
func withServer(_ kind: String, _ body: ([String]) async throws -> Void) async throws {
    let process = Process()
    process.executableURL = Bundle.main.executableURL
    process.arguments = [kind]
    let (input, output) = (Pipe(), Pipe())
    process.standardInput = input
    process.standardOutput = output
    try process.run()
    let line = String(decoding: output.fileHandleForReading.availableData, as: UTF8.self)
    try await body(line.split(whereSeparator: \.isWhitespace).map(String.init))
    try input.fileHandleForWriting.close()
    process.waitUntilExit()
}
