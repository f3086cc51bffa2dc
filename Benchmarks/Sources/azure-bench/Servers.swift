import Foundation

/// Prints what a client needs, and waits until the other process closes its end.
func announce(_ words: [String]) {
    FileHandle.standardOutput.write(Data((words.joined(separator: " ") + "\n").utf8))
    _ = FileHandle.standardInput.readDataToEndOfFile()
}

/// This program as a server, in a process of its own.
struct AnnouncedServer {
    /// What the server announced: its address and keys.
    let words: [String]
    private let process = Process()
    private let input = Pipe()

    init(_ kind: String) throws {
        process.executableURL = Bundle.main.executableURL
        process.arguments = [kind]
        let output = Pipe()
        process.standardInput = input
        process.standardOutput = output
        try process.run()
        words = String(decoding: output.fileHandleForReading.availableData, as: UTF8.self)
            .split(whereSeparator: \.isWhitespace).map(String.init)
    }

    func stop() {
        try? input.fileHandleForWriting.close()
        process.waitUntilExit()
    }
}

/// Makes a folder, and removes it when `body` ends.
func withTemporaryFolder<Value>(_ path: String, _ body: () async throws -> Value) async throws -> Value {
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: path) }
    return try await body()
}
