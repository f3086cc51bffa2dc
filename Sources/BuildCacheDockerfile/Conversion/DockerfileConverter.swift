import BuildCacheCore
import BuildCacheKeys

/// Makes operations of the stages that a target needs, in the order of the Dockerfile.
///
/// - Source: `Documentation/Spec/cache-keys.md` §7; BuildKit `frontend/dockerfile/dockerfile2llb/convert.go`.
struct DockerfileConverter {
    /// A stage of the Dockerfile, or an image that is only copied from.
    struct Stage {
        var baseName: Text
        /// The stage that this one continues.
        var base: Int?
        var label: String
        var platform: LLB.Platform?
        var line: Int
        var instructions: [Instruction]
        /// Whether it is an image that only `--from` names.
        var isImage = false
        /// The stages or images that each instruction uses, one for each mount of `RUN`.
        var sources: [[Int?]] = []
        var state: StageState?
        var hasTriggers = false
        var isDone = false
    }

    let dockerfile: Dockerfile
    let options: DockerfileOptions
    let lexer: ShellLexer
    var stages: [Stage] = []
    private var names: [ExactText: Int] = [:]
    var globals: [(name: Text, value: Text)] = []
    var instructionCount = 0
    /// The number of characters that words may still expand to: a variable could double with each line.
    var budget = DockerfileConverter.maximumText
    /// The time of new directories in nanoseconds, -1 for the present.
    var timestamp: Int64 = -1
    var graph = OperationGraph()
    private var contextNode: OperationGraph.Node?
    /// The paths of the context that are used.
    var contextPaths: Set<ExactText> = []
    var images: [String: DockerfileImage] = [:]

    static let maximumText = 8 << 20
    static let maximumInstructions = 100_000

    static func spend(_ count: Int, of budget: inout Int) throws(CacheError) {
        budget -= count
        guard budget >= 0 else {
            throw CacheError(.limitExceeded, "the Dockerfile expands to more than \(maximumText) characters")
        }
    }

    init(_ dockerfile: Dockerfile, _ options: DockerfileOptions) throws(CacheError) {
        self.dockerfile = dockerfile
        self.options = options
        lexer = ShellLexer(escape: dockerfile.escape)
        for platform in [options.platform, options.buildPlatform] where platform.normalized.os.isExactly("windows") {
            throw CacheError(.unsupported, "builds for Windows are not supported")
        }
        try readGlobals()
        try readStages()
    }

    // MARK: Arguments

    private mutating func readGlobals() throws(CacheError) {
        let (build, target) = (options.buildPlatform.normalized, options.platform.normalized)
        let stage = options.target ?? dockerfile.stages.last?.from.name?.string ?? "default"
        let predefined = [
            ("BUILDPLATFORM", build.text), ("BUILDOS", build.os), ("BUILDOSVERSION", build.osVersion),
            ("BUILDARCH", build.architecture), ("BUILDVARIANT", build.variant), ("TARGETPLATFORM", target.text),
            ("TARGETOS", target.os), ("TARGETOSVERSION", target.osVersion), ("TARGETARCH", target.architecture),
            ("TARGETVARIANT", target.variant), ("TARGETSTAGE", stage),
        ]
        for (name, value) in predefined { globals.append((Text(name), argument(Text(name)) ?? Text(value))) }
        for instruction in dockerfile.globalArguments {
            guard case .argument(let variables) = instruction.kind else { continue }
            for variable in variables {
                var value = argument(variable.name)
                if value == nil, let text = variable.value {
                    do throws(CacheError) {
                        value = try lexer.expand(text) { global($0) }
                        try DockerfileConverter.spend(value?.count ?? 0, of: &budget)
                    } catch { throw error.atLine(instruction.line) }
                }
                guard let value else { continue }
                globals.removeAll { $0.name == variable.name }
                globals.append((variable.name, value))
            }
        }
        let epoch = Text("SOURCE_DATE_EPOCH")
        guard let text = argument(epoch) ?? global(epoch), !text.isEmpty else { return }
        guard let seconds = Int64(decimal: text.string, in: 0...Int64.max / 1_000_000_000) else {
            throw CacheError(
                .unsupported, "invalid SOURCE_DATE_EPOCH \(text.string.quoted): expected seconds since 1970")
        }
        timestamp = seconds * 1_000_000_000
    }

    /// The value that the caller gave for an `ARG`.
    func argument(_ name: Text) -> Text? {
        let wanted = ExactText(name.string)
        return options.buildArguments.first { ExactText($0.key) == wanted }.map { Text($0.value) }
    }

    func global(_ name: Text) -> Text? { globals.last { $0.name == name }?.value }

    // MARK: Stages

    private mutating func readStages() throws(CacheError) {
        for (index, parsed) in dockerfile.stages.enumerated() {
            do throws(CacheError) {
                let base = try lexer.expand(parsed.from.base) { global($0) }
                try DockerfileConverter.spend(base.count, of: &budget)
                guard !base.isEmpty else {
                    throw CacheError(.invalidSpec, "the image \(parsed.from.base.string.quoted) expands to nothing")
                }
                var stage = Stage(
                    baseName: base, base: names[ExactText(base.string)],
                    label: parsed.from.name?.string ?? "stage-\(index)", line: parsed.line,
                    instructions: parsed.instructions)
                if let platform = parsed.from.platform {
                    stage.platform = try LLB.Platform(try lexer.expand(platform) { global($0) }.string)
                }
                stages.append(stage)
                if let name = parsed.from.name { names[ExactText(name.string)] = index }
            } catch { throw error.atLine(parsed.line) }
        }
        for index in dockerfile.stages.indices {
            for instruction in stages[index].instructions {
                let sources = try sources(of: instruction)
                stages[index].sources.append(sources)
            }
        }
    }

    /// The stages and images that an instruction uses.
    mutating func sources(of instruction: Instruction) throws(CacheError) -> [Int?] {
        do throws(CacheError) {
            switch instruction.kind {
            case .copy(let copy):
                guard let from = copy.from else { return [] }
                guard !from.contains(where: { "$'\"\\`".unicodeScalars.contains($0) }) else {
                    throw CacheError(
                        .invalidSpec, "variables in --from are not possible; name the image in a stage of its own")
                }
                if let number = Int(signedDecimal: from.string, in: Int.min...Int.max) {
                    guard dockerfile.stages.indices.contains(number) else {
                        throw CacheError(.invalidSpec, "the stage \(number) does not exist")
                    }
                    return [number]
                }
                return [source(named: from, line: instruction.line)]
            case .run(let run):
                var sources: [Int?] = []
                for mount in run.mounts {
                    let from = try RunMount.from(mount) ?? Text("scratch")
                    let isEmpty = from.isExactly("scratch") && names[ExactText("scratch")] == nil
                    sources.append(isEmpty ? nil : source(named: from, line: instruction.line))
                }
                return sources
            default: return []
            }
        } catch { throw error.atLine(instruction.line) }
    }

    private mutating func source(named name: Text, line: Int) -> Int {
        if let stage = names[ExactText(name.lowercased.string)] { return stage }
        stages.append(Stage(baseName: name, label: name.string, line: line, instructions: [], isImage: true))
        return stages.count - 1
    }

    func target() throws(CacheError) -> Int {
        guard let name = options.target else { return dockerfile.stages.count - 1 }
        guard let stage = names[ExactText(name.lowercased())] else {
            throw CacheError(.invalidSpec, "the target \(name.quoted) is not a stage of the Dockerfile")
        }
        return stage
    }

    /// All that a stage needs, itself among them.
    func needed(by target: Int) throws(CacheError) -> Set<Int> {
        var found: Set<Int> = []
        var rest = [target]
        while let stage = rest.popLast() {
            guard found.insert(stage).inserted else { continue }
            rest += stages[stage].base.map { [$0] } ?? []
            rest += stages[stage].sources.joined().compactMap { $0 }
        }
        return found
    }

    // MARK: Context

    /// The operation of the context.
    mutating func context() -> OperationGraph.Node {
        if let contextNode { return contextNode }
        let node = graph.add(.context, nil)
        contextNode = node
        return node
    }

    /// Marks a path of the context as used.
    mutating func use(contextPath path: Text) { contextPaths.insert(ExactText(UnixPath.absolute(path.string))) }

    /// The context as a source, which names the paths that are used unless it is used as a whole.
    var contextSource: LLB.SourceOp {
        var attributes = [LLB.Attribute("local.sharedkeyhint", "context")]
        if !options.contextID.isEmpty { attributes.append(LLB.Attribute("local.unique", options.contextID)) }
        if !contextPaths.isEmpty, !contextPaths.contains(ExactText("/")) {
            let paths = contextPaths.map { ExactText(String($0.text.dropFirst())) }.sorted().map(\.text)
            attributes.append(LLB.Attribute("local.followpaths", LLB.jsonArray(paths)))
        }
        return LLB.SourceOp("local://context", attributes: attributes)
    }
}
