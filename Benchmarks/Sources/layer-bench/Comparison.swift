import Foundation

/// Ours and others in turns.
struct Comparison {
    private struct Command {
        var name: String
        var arguments: [String]
        /// Made by the command, and removed before it runs again.
        var output: String
        var needsDirectory = false
    }

    private let work: Work
    private let rounds: Int

    init(_ work: Work, rounds: Int) {
        self.work = work
        self.rounds = rounds
    }

    func run() throws {
        var maker = TreeMaker()
        try maker.small(100_000, at: "\(work.path)/small")
        try maker.large(at: "\(work.path)/large")
        for tree in ["small", "large"] {
            _ = try measure(["tar", "-cf", "\(tree).tar", "-C", tree, "."], in: work.path)
            try compare("unpack \(tree)", unpacking(tree))
            try compare("pack \(tree)", packing(tree))
        }
    }

    private var ours: String { URL(filePath: CommandLine.arguments[0]).path }

    private func unpacking(_ tree: String) -> [Command] {
        [
            Command(
                name: "GNU tar", arguments: ["tar", "-xf", "\(tree).tar", "-C", "out"], output: "out",
                needsDirectory: true),
            Command(name: "ours", arguments: [ours, "unpack", "\(tree).tar", "out"], output: "out"),
            Command(
                name: "bsdtar", arguments: ["bsdtar", "-xf", "\(tree).tar", "-C", "out"], output: "out",
                needsDirectory: true),
            Command(name: "cp -a", arguments: ["cp", "-a", tree, "out"], output: "out"),
        ]
    }

    private func packing(_ tree: String) -> [Command] {
        [
            Command(name: "GNU tar", arguments: ["tar", "-cf", "out.tar", "-C", tree, "."], output: "out.tar"),
            Command(name: "ours, with the diffID", arguments: [ours, "pack", tree, "out.tar"], output: "out.tar"),
            Command(
                name: "GNU tar and sha256sum",
                arguments: ["sh", "-c", "tar -cf - -C \(tree) . | tee out.tar | sha256sum"], output: "out.tar"),
            Command(name: "bsdtar", arguments: ["bsdtar", "-cf", "out.tar", "-C", tree, "."], output: "out.tar"),
        ]
    }

    private func compare(_ title: String, _ commands: [Command]) throws {
        let commands = commands.filter { $0.name != "bsdtar" || isInstalled("bsdtar") }
        var costs = [[Cost]](repeating: [], count: commands.count)
        // The first round warms up.
        for round in 0...rounds {
            for (index, command) in commands.enumerated() {
                let output = "\(work.path)/\(command.output)"
                if command.needsDirectory {
                    try FileManager.default.createDirectory(atPath: output, withIntermediateDirectories: true)
                }
                let cost = try measure(command.arguments, in: work.path)
                _ = try measure(["rm", "-rf", output], in: work.path)
                if round > 0 { costs[index].append(cost) }
            }
        }
        print(title)
        for (index, command) in commands.enumerated() {
            let pairs = zip(costs[index], costs[0])
            print(
                String(
                    format: "  %@: %.2f s (%.2f × GNU tar), processor %.2f s (%.2f ×), %d MiB",
                    command.name.padding(toLength: 22, withPad: " ", startingAt: 0),
                    median(costs[index].map(\.seconds)), median(pairs.map { $0.seconds / $1.seconds }),
                    median(costs[index].map(\.processorSeconds)),
                    median(pairs.map { $0.processorSeconds / $1.processorSeconds }),
                    costs[index].map(\.memory).max().map { Int($0 >> 20) } ?? 0))
        }
        fflush(nil)
    }
}

/// Packs and unpacks 10⁶ files.
struct MemoryCheck {
    private static let maximum: Int64 = 128 << 20
    private let work: Work

    init(_ work: Work) { self.work = work }

    func run() throws -> Bool {
        let tree = "\(work.path)/many"
        for directory in 0..<10_000 {
            let folder = "\(tree)/d\(directory)"
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            // Foundation would take minutes.
            for file in 0..<100 {
                let descriptor = open("\(folder)/f\(file)", O_WRONLY | O_CREAT, 0o644)
                guard descriptor >= 0, Foundation.write(descriptor, "x", 1) == 1 else {
                    throw MeasuringFault.failed("making \(folder)/f\(file)")
                }
                close(descriptor)
            }
        }
        let ours = URL(filePath: CommandLine.arguments[0]).path
        var isGood = true
        for command in [["pack", tree, "many.tar"], ["unpack", "many.tar", "again"]] {
            let cost = try measure([ours] + command, in: work.path)
            isGood = isGood && cost.memory <= MemoryCheck.maximum
            print(
                "\(command[0]) 10⁶ files: \(cost.memory >> 20) MiB (at most \(MemoryCheck.maximum >> 20)), \(Int(cost.seconds)) s"
            )
        }
        return isGood
    }
}
