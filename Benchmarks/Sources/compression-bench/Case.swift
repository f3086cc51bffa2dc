import BuildCache
import Foundation

/// Two commands that do the same job, and how much more than the second the first may take.
struct Case {
    var name: String
    var ours: Command
    var other: Command
    /// The most our wall time may be, as a multiple of the other's.
    var maximumTime: Double
    /// The most our result may have, as a multiple of the other's bytes; `nil` where the two are no comparison.
    var maximumSize: Double?
    /// Bytes that are hashed on the way, other than those of the result.
    var hashed: Int64
}

/// A command line, and the file that it leaves its result in.
struct Command {
    var line: [String]
    /// `nil` for this program itself, which says the size of what it made.
    var output: String?

    static func shell(_ line: String, output: String) -> Command {
        Command(line: ["sh", "-c", "\(line) > '\(output)'"], output: output)
    }
}

/// What one run of a command took.
struct Measurement {
    var seconds: Double
    /// Of all its threads, in the user's code and in the system's.
    var processorSeconds: Double
    var bytes: Int64
    /// The most memory resident at once, known of this program only.
    var peakMemory: Int64?
    /// Of the result, known of this program only.
    var digest: Digest?
}

struct Failure: Error, CustomStringConvertible { var description: String }

extension Command {
    /// Runs it and returns what it printed.
    func printed() throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = line
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        let printed = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw Failure(description: "\(line.joined(separator: " ")) failed")
        }
        return String(decoding: printed, as: UTF8.self)
    }

    @discardableResult
    func run(keepingOutput: Bool = false) throws -> Measurement {
        let before = processorSeconds()
        let clock = ContinuousClock()
        let start = clock.now
        let printed = try printed()
        let duration = clock.now - start
        var measurement = Measurement(
            seconds: Double(duration.components.seconds) + Double(duration.components.attoseconds) / 1e18,
            processorSeconds: processorSeconds() - before, bytes: 0)
        if let output {
            measurement.bytes = try Conversion.size(of: output)
            if !keepingOutput { try FileManager.default.removeItem(atPath: output) }
        } else {
            let words = printed.split(whereSeparator: \.isWhitespace)
            let numbers = words.compactMap { Int64($0) }
            guard words.count == 3, numbers.count == 2 else {
                throw Failure(description: "the conversion printed other things than two numbers and a digest")
            }
            measurement.bytes = numbers[0]
            measurement.peakMemory = numbers[1]
            measurement.digest = try Digest(words[2])
        }
        return measurement
    }

    private func processorSeconds() -> Double {
        let usage = rusage(ofChildren: true)
        func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
        return seconds(usage.ru_utime) + seconds(usage.ru_stime)
    }
}

extension rusage {
    /// What this process has used so far, or the processes that it started and waited for.
    init(ofChildren: Bool) {
        self.init()
        #if os(Linux)
            getrusage(__rusage_who_t((ofChildren ? RUSAGE_CHILDREN : RUSAGE_SELF).rawValue), &self)
        #else
            getrusage(ofChildren ? RUSAGE_CHILDREN : RUSAGE_SELF, &self)
        #endif
    }
}
