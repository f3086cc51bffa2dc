import BuildCacheCore
import BuildCacheKeys

extension DockerfileConverter {
    /// Applies an instruction to the state of its stage.
    mutating func apply(
        _ instruction: Instruction, _ sources: [Int?], _ stage: String, _ state: inout StageState
    ) throws(CacheError) {
        let origin = OperationGraph.Origin(line: instruction.line, text: instruction.text.string, stage: stage)
        // All words of an instruction see the variables before it.
        let (before, lexer) = (state, self.lexer)
        var budget = self.budget
        func expand(_ word: Text) throws(CacheError) -> Text {
            let text = try lexer.expand(word) { before.value(of: $0) }
            try DockerfileConverter.spend(text.count, of: &budget)
            return text
        }
        defer { self.budget = min(self.budget, budget) }
        switch instruction.kind {
        case .from, .onBuild, .maintainer, .healthcheck: break
        case .unsupported(let error): throw error
        case .environment(let assignments):
            for assignment in assignments {
                let (name, value) = (try expand(assignment.name), try expand(assignment.value))
                state.set(name, value)
                state.setInImage(name, value)
            }
        case .argument(let variables):
            for variable in variables { try apply(variable, &state) }
        case .label(let assignments):
            for assignment in assignments {
                let label = LLB.Attribute(try expand(assignment.name).string, try expand(assignment.value).string)
                state.settings.labels.removeAll { $0.name.isExactly(label.name) }
                state.settings.labels.append(label)
            }
        case .workdir(let path): makeWorkingDirectory(try expand(path).string, origin, &state)
        case .user(let user):
            state.user = try expand(user).string
            state.settings.user = state.user
        case .shell(let words): state.settings.shell = words.map(\.string)
        case .run(let run): try apply(run, sources, origin, &state, expand)
        case .copy(let copy): try apply(copy, sources, origin, &state, expand)
        case .command(let command):
            state.settings.command = words(of: command, state)
        case .entrypoint(let command):
            state.settings.entrypoint = words(of: command, state)
            // A command of the base would be arguments of this program.
            state.settings.command = nil
        case .expose(let ports):
            for port in ports {
                let port = try expand(port).string
                if !state.settings.ports.contains(where: { $0.isExactly(port) }) { state.settings.ports.append(port) }
            }
        case .volume(let paths):
            for path in paths {
                let path = try expand(path).string
                if !state.settings.volumes.contains(where: { $0.isExactly(path) }) {
                    state.settings.volumes.append(path)
                }
            }
        case .stopSignal(let signal): state.settings.stopSignal = try expand(signal).string
        }
    }

    /// Sets an `ARG`: to the caller's value, else to its default, else to that of an `ARG` above the first stage.
    private mutating func apply(_ variable: Instruction.Variable, _ state: inout StageState) throws(CacheError) {
        var value = argument(variable.name)
        if value == nil {
            if let text = variable.value {
                let before = state
                value = try lexer.expand(text) { before.value(of: $0) }
                try DockerfileConverter.spend(value?.count ?? 0, of: &budget)
            } else {
                value = global(variable.name)
            }
        }
        let isInternal = variable.name.hasPrefix("BUILDKIT_SBOM_SCAN_")
        if let value, !isInternal { state.set(variable.name, value) }
    }

    private mutating func makeWorkingDirectory(
        _ path: String, _ origin: OperationGraph.Origin, _ state: inout StageState
    ) {
        state.directory = UnixPath.normalize(path, parent: state.settings.workingDirectory)
        state.settings.workingDirectory = state.directory
        guard !state.directory.isExactly("/") else { return }
        var directory = LLB.MakeDirectory()
        directory.path = UnixPath.absolute(state.directory)
        directory.mode = 0o755
        directory.makesParents = true
        directory.timestamp = timestamp
        if !state.settings.user.isEmpty { directory.owner = LLB.Owner(state.settings.user) }
        let step = OperationGraph.FileStep(source: nil, change: .makeDirectory(directory))
        state.output = graph.add(.files(base: state.output, [step]), origin)
    }

    /// The words that run, the shell's in front unless the command is an array.
    func words(of command: Instruction.Command, _ state: StageState) -> [String] {
        let words = command.words.map(\.string)
        guard command.needsShell else { return words }
        let shell = state.settings.shell.isEmpty ? ["/bin/sh", "-c"] : state.settings.shell
        return shell + [words.joined(separator: " ")]
    }

    /// The state of a stage that an instruction uses.
    func finished(_ stage: Int) throws(CacheError) -> StageState {
        guard stages[stage].isDone, let state = stages[stage].state else {
            throw CacheError(
                .invalidSpec, "the stage \(stages[stage].label.quoted) must come before the stage that uses it")
        }
        return state
    }
}
