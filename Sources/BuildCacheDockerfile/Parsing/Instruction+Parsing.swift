import BuildCacheCore

extension Instruction {
    /// Parses an instruction.
    ///
    /// An instruction that is valid and not converted is kept as such, because a build may not need it.
    ///
    /// - Throws: `CacheError` `.invalidSpec` with the line for what BuildKit refuses too.
    init(_ line: DockerfileLine, escape: Unicode.Scalar) throws(CacheError) {
        self.line = line.number
        text = line.original.trimmed
        do throws(CacheError) {
            kind = try Instruction.kind(line, escape: escape)
        } catch {
            let error = error.atLine(line.number)
            guard error.code == .unsupported else { throw error }
            kind = .unsupported(error)
        }
    }

    private static func kind(_ line: DockerfileLine, escape: Unicode.Scalar) throws(CacheError) -> Kind {
        var flags = InstructionFlags(line.flags)
        let kind = try kind(line, &flags, escape)
        try flags.finish()
        return kind
    }

    private static func kind(
        _ line: DockerfileLine, _ flags: inout InstructionFlags, _ escape: Unicode.Scalar
    ) throws(CacheError) -> Kind {
        let rest = line.arguments
        let name = line.keyword.string
        switch name {
        case "from": return .from(try from(rest, &flags))
        case "run": return .run(try run(line, &flags))
        case "copy", "add": return .copy(try copy(line, &flags))
        case "maintainer": return .maintainer
        case "healthcheck":
            // Its flags are those of the container and of no build.
            flags.ignoreAll()
            return .healthcheck(rest)
        default: break
        }
        guard !rest.isEmpty else { throw CacheError(.invalidSpec, "\(name.uppercased()) has no arguments") }
        switch name {
        case "arg":
            return .argument(try InstructionWords.split(rest, escape).map(variable))
        case "env": return .environment(try assignments(rest, escape))
        case "label": return .label(try assignments(rest, escape))
        case "workdir": return .workdir(rest)
        case "user": return .user(rest)
        case "shell":
            guard let words = try JSONForm.strings(rest), !words.isEmpty else {
                throw CacheError(.invalidSpec, "invalid SHELL: expected a JSON array of strings")
            }
            return .shell(words)
        case "onbuild": return .onBuild(try onBuild(line))
        case "cmd": return .command(try command(rest))
        case "entrypoint": return .entrypoint(try command(rest))
        case "expose": return .expose(rest.splitBlanks())
        case "volume": return .volume(try JSONForm.strings(rest) ?? rest.splitBlanks())
        case "stopsignal": return .stopSignal(rest)
        default: throw CacheError(.invalidSpec, "unknown instruction \(name.uppercased().quoted)")
        }
    }

    private static func from(_ rest: Text, _ flags: inout InstructionFlags) throws(CacheError) -> From {
        let words = rest.splitBlanks()
        guard words.count == 1 && !words[0].isEmpty || words.count == 3 && words[1].lowercased.isExactly("as") else {
            throw CacheError(.invalidSpec, "invalid FROM: expected an image, or an image, AS and a name")
        }
        var from = From(base: words[0], platform: try flags.text("platform"))
        if words.count == 3 {
            let name = words[2].lowercased
            let isValid = name.enumerated().allSatisfy { index, scalar in
                ("a"..."z").contains(scalar)
                    || index > 0 && (scalar.isDigit || scalar == "-" || scalar == "_" || scalar == ".")
            }
            guard isValid else {
                throw CacheError(
                    .invalidSpec, "invalid stage name \(words[2].string.quoted): expected letters, digits, -, _ and .")
            }
            from.name = name
        }
        return from
    }

    private static func run(_ line: DockerfileLine, _ flags: inout InstructionFlags) throws(CacheError) -> Run {
        let run = Run(
            command: try command(line.arguments), heredocs: line.heredocs, mounts: try flags.texts("mount"),
            network: try flags.text("network"), security: try flags.text("security"))
        guard !run.command.words.isEmpty else { throw CacheError(.invalidSpec, "RUN has no command") }
        if flags.isUsed("device") { throw CacheError(.unsupported, "RUN --device is not supported") }
        return run
    }

    private static func copy(_ line: DockerfileLine, _ flags: inout InstructionFlags) throws(CacheError) -> Copy {
        let isAdd = line.keyword.isExactly("add")
        var words = try JSONForm.strings(line.arguments) ?? line.arguments.splitBlanks()
        guard let destination = words.popLast(), !words.isEmpty else {
            throw CacheError(
                .invalidSpec, "\(isAdd ? "ADD" : "COPY") has no destination: expected at least two arguments")
        }
        guard try Heredoc(word: destination) == nil || line.heredocs.isEmpty else {
            throw CacheError(.invalidSpec, "a document cannot be a destination")
        }
        var copy = Copy(
            isAdd: isAdd, sources: words, heredocs: line.heredocs, destination: destination,
            owner: try flags.text("chown"), mode: try flags.text("chmod"))
        copy.isLink = try flags.bool("link") ?? false
        copy.excludes = try flags.texts("exclude")
        if isAdd {
            copy.unpacks = try flags.bool("unpack")
            for flag in ["checksum", "keep-git-dir"] where flags.isUsed(flag) {
                throw CacheError(.unsupported, "ADD --\(flag) is not supported: only files of the context can be added")
            }
        } else {
            copy.from = try flags.text("from")
            copy.keepsParents = try flags.bool("parents") ?? false
        }
        if let pattern = copy.excludes.first(where: { $0.contains("$") }) {
            throw CacheError(.unsupported, "variables in --exclude=\(pattern.string) are not supported")
        }
        return copy
    }

    private static func onBuild(_ line: DockerfileLine) throws(CacheError) -> Text {
        // The trigger is what stands behind the keyword, flags included.
        let trigger = line.original.trimmed.splitBlanks(limit: 2)[1]
        let first = trigger.splitBlanks(limit: 2)[0].lowercased.string
        guard !["onbuild", "from", "maintainer"].contains(first) else {
            throw CacheError(.invalidSpec, "\(first.uppercased()) is not possible behind ONBUILD")
        }
        let isDocument = trigger.indices.contains { trigger[$0...].starts(with: "<<".unicodeScalars) }
        guard !isDocument || !["run", "copy", "add"].contains(first) else {
            throw CacheError(.unsupported, "ONBUILD with a document is not supported")
        }
        return trigger
    }

    private static func command(_ rest: Text) throws(CacheError) -> Command {
        if let words = try JSONForm.strings(rest) { return Command(words: words, needsShell: false) }
        return Command(words: rest.isEmpty ? [] : [rest], needsShell: true)
    }

    private static func variable(_ word: Text) throws(CacheError) -> Variable {
        guard let (name, value) = word.cut("=") else { return Variable(name: word) }
        guard !name.isEmpty else { throw CacheError(.invalidSpec, "a variable has no name") }
        return Variable(name: name, value: value)
    }

    /// `NAME=value …`, or the old form `NAME value`.
    private static func assignments(_ rest: Text, _ escape: Unicode.Scalar) throws(CacheError) -> [Assignment] {
        let words = InstructionWords.split(rest, escape)
        guard let first = words.first, first.contains("=") else {
            let parts = rest.splitBlanks(limit: 2)
            guard parts.count == 2 else { throw CacheError(.invalidSpec, "a variable has no value") }
            return [Assignment(name: parts[0], value: parts[1])]
        }
        var found: [Assignment] = []
        for word in words {
            guard let (name, value) = word.cut("="), !name.isEmpty else {
                throw CacheError(.invalidSpec, "invalid assignment \(word.string.quoted): expected name=value")
            }
            found.append(Assignment(name: name, value: value))
        }
        return found
    }
}
