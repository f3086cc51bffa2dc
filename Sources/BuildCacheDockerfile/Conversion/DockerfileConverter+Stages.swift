import BuildCacheCore
import BuildCacheKeys

extension DockerfileConverter {
    mutating func convert(images source: some DockerfileImages) async throws -> DockerfileBuild {
        let target = try target()
        // A trigger of an image may name another image.
        while true {
            for stage in try needed(by: target).sorted() {
                if stages[stage].base == nil, stages[stage].state == nil { try await begin(stage, source) }
            }
            guard try addTriggers(try needed(by: target)) else { break }
        }
        let needed = try needed(by: target)
        for stage in stages.indices where needed.contains(stage) && !stages[stage].isDone {
            try convert(stage)
        }
        guard let result = stages[target].state else {
            throw CacheError(.invalidSpec, "the stage \(stages[target].label.quoted) needs itself")
        }
        let (definition, origins) = try graph.definition(of: result.output, context: contextSource)
        var build = DockerfileBuild(
            definition: definition, settings: result.settings, platform: result.platform, images: images)
        build.steps = origins.mapValues { $0.map { .init(line: $0.line, text: $0.text, stage: $0.stage) } }
        return build
    }

    /// Looks up the image that a stage begins with.
    private mutating func begin(_ stage: Int, _ source: some DockerfileImages) async throws {
        let target = options.platform.normalized
        if stages[stage].baseName.isExactly("scratch") {
            var settings = ImageSettings()
            settings.workingDirectory = "/"
            stages[stage].state = StageState(output: nil, platform: target, settings: settings)
            stages[stage].isDone = stages[stage].isImage
            return
        }
        let platform = stages[stage].platform ?? target
        let reference: Reference
        do { reference = try Reference(stages[stage].baseName.string) } catch {
            throw error.atLine(stages[stage].line)
        }
        let image = try await source.image(named: reference.description, platform: platform)
        var output: OperationGraph.Node?
        if !image.diffIDs.isEmpty {
            let name = reference.digest == nil ? "\(reference)@\(image.digest)" : reference.description
            let identifier = "docker-image://\(name)"
            images[DockerfileBuild.key(identifier, platform)] = image
            let origin = OperationGraph.Origin(
                line: stages[stage].line, text: "FROM \(reference)", stage: stages[stage].label)
            output = graph.add(.image(identifier: identifier, platform: platform), origin)
        }
        stages[stage].state = StageState(output: output, platform: platform, settings: image.settings)
        stages[stage].isDone = stages[stage].isImage
    }

    /// Puts the instructions of `ONBUILD` in front of those of the stages that begin with their image or stage.
    ///
    /// - Returns: Whether any of them uses another stage or image.
    private mutating func addTriggers(_ needed: Set<Int>) throws(CacheError) -> Bool {
        var usesOthers = false
        for stage in needed.sorted() where !stages[stage].hasTriggers && !stages[stage].isImage {
            stages[stage].hasTriggers = true
            var triggers = (stages[stage].state?.settings.onBuild ?? []).map { Text($0) }
            stages[stage].state?.settings.onBuild = []
            if let base = stages[stage].base {
                for case .onBuild(let trigger) in stages[base].instructions.map(\.kind) { triggers.append(trigger) }
            }
            var instructions: [Instruction] = []
            var sources: [[Int?]] = []
            for trigger in triggers {
                do throws(CacheError) {
                    let lines = try DockerfileLines(trigger)
                    guard lines.lines.count == 1, var line = lines.lines.first else {
                        throw CacheError(.invalidSpec, "an ONBUILD trigger is not one instruction")
                    }
                    line.number = stages[stage].line
                    let instruction = try Instruction(line, escape: lines.escape)
                    if case .from = instruction.kind {
                        throw CacheError(.invalidSpec, "FROM is not possible behind ONBUILD")
                    }
                    instructions.append(instruction)
                    sources.append(try self.sources(of: instruction))
                    usesOthers = usesOthers || !(sources.last ?? []).isEmpty
                } catch { throw error.atLine(stages[stage].line) }
            }
            instructionCount += instructions.count
            guard instructionCount <= DockerfileConverter.maximumInstructions else {
                throw CacheError.line(
                    stages[stage].line,
                    "ONBUILD makes more than \(DockerfileConverter.maximumInstructions) instructions",
                    code: .limitExceeded)
            }
            stages[stage].instructions = instructions + stages[stage].instructions
            stages[stage].sources = sources + stages[stage].sources
        }
        return usesOthers
    }

    private mutating func convert(_ stage: Int) throws(CacheError) {
        if let base = stages[stage].base {
            guard stages[base].isDone, var state = stages[base].state else {
                throw CacheError.line(stages[stage].line, "the stage \(stages[base].label.quoted) needs this one")
            }
            state.settings.onBuild = []
            stages[stage].state = state
        }
        guard var state = stages[stage].state else { return }
        state.begin()
        for (index, instruction) in stages[stage].instructions.enumerated() {
            do throws(CacheError) {
                try apply(instruction, stages[stage].sources[index], stages[stage].label, &state)
            } catch { throw error.atLine(instruction.line) }
        }
        stages[stage].state = state
        stages[stage].isDone = true
    }
}
