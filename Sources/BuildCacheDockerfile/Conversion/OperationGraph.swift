import BuildCacheCore
import BuildCacheKeys

/// The operations of a Dockerfile before their digests are known: which files of the context are used is known last, and stands in the
/// operation of the context.
struct OperationGraph {
    /// The first output of an operation of this graph.
    typealias Node = Int

    enum Operation {
        case context
        case image(identifier: String, platform: LLB.Platform)
        case run(Run)
        case files(base: Node?, [FileStep])
        case merge([Node])
    }

    /// A process, with its mounts in the order in which they were added, the root first.
    struct Run {
        var meta: LLB.Meta
        var mounts: [Mount]
        /// Secrets and agents, which stand behind all others.
        var secretMounts: [LLB.Mount] = []
        var secretVariables: [LLB.SecretVariable] = []
        var network = LLB.NetworkMode.sandbox
        var security = LLB.SecurityMode.sandbox
        var platform: LLB.Platform
    }

    struct Mount {
        var source: Node?
        var mount: LLB.Mount
        /// Whether the mount becomes an output.
        var hasOutput = false
    }

    struct FileStep {
        /// Of a copy, what is copied from; `nil` for an empty file system.
        var source: Node?
        var change: LLB.FileChange
    }

    /// The origin of an operation.
    struct Origin {
        var line: Int
        var text: String
        var stage: String
    }

    private(set) var operations: [(operation: Operation, origin: Origin?)] = []

    mutating func add(_ operation: Operation, _ origin: Origin?) -> Node {
        operations.append((operation, origin))
        return operations.count - 1
    }

    // MARK: Definition

    /// The definition of all that the result needs, in the order in which BuildKit's client writes it, and the origin of each operation.
    func definition(
        of result: Node?, context: LLB.SourceOp
    ) throws(CacheError) -> (definition: LLB.Definition, origins: [Digest: [Origin]]) {
        var definition = LLB.Definition()
        var origins: [Digest: [Origin]] = [:]
        var digests: [Node: Digest] = [:]
        var size = 0
        guard let result else { return (definition, [:]) }
        // A stack, because a Dockerfile may have any number of steps.
        var stack: [(node: Node, next: Int)] = [(result, 0)]
        while let (node, next) = stack.popLast() {
            if digests[node] != nil { continue }
            let inputs = inputs(of: node)
            if next < inputs.count {
                stack.append((node, next + 1))
                if digests[inputs[next]] == nil { stack.append((inputs[next], 0)) }
                continue
            }
            let op = op(node, context, digests)
            size += op.encoded().count
            guard size <= LLB.Definition.maximumBytes else {
                throw CacheError(
                    .limitExceeded,
                    "the operations have more than \(LLB.Definition.maximumBytes) bytes, which no daemon takes")
            }
            var metadata: LLB.Definition.Metadata?
            if let origin = operations[node].origin {
                metadata = LLB.Definition.Metadata()
                metadata?.description = [LLB.Attribute("com.docker.dockerfile.v1.command", origin.text)]
            }
            let digest = try definition.add(op, metadata: metadata)
            digests[node] = digest
            if let origin = operations[node].origin { origins[digest, default: []].append(origin) }
        }
        definition.result = digests[result].map { LLB.Output($0) }
        return (definition, origins)
    }

    /// The inputs of an operation, in the order in which BuildKit's client visits them.
    private func inputs(of node: Node) -> [Node] {
        switch operations[node].operation {
        case .context, .image: []
        case .run(let run): run.mounts.compactMap(\.source)
        // The last action first.
        case .files(let base, let steps): (base.map { [$0] } ?? []) + steps.reversed().compactMap(\.source)
        case .merge(let inputs): inputs
        }
    }

    private func op(_ node: Node, _ context: LLB.SourceOp, _ digests: [Node: Digest]) -> LLB.Op {
        var inputs: [LLB.Output] = []
        func index(of node: Node?) -> Int64 {
            guard let node, let digest = digests[node] else { return -1 }
            let output = LLB.Output(digest)
            if let known = inputs.firstIndex(of: output) { return Int64(known) }
            inputs.append(output)
            return Int64(inputs.count - 1)
        }
        switch operations[node].operation {
        case .context: return LLB.Op(.source(context))
        case .image(let identifier, let platform):
            return LLB.Op(.source(LLB.SourceOp(identifier)), platform: platform)
        case .merge(let nodes):
            var merge = LLB.MergeOp()
            for node in nodes { merge.inputs.append(LLB.InputIndex(index(of: node))) }
            return LLB.Op(.merge(merge), inputs: inputs)
        case .files(let base, let steps):
            let base = index(of: base)
            let sources = steps.map { index(of: $0.source) }
            var actions: [LLB.FileAction] = []
            for (number, step) in steps.enumerated() {
                // An index beyond the inputs is an earlier action.
                let input = number == 0 ? base : Int64(inputs.count + number - 1)
                actions.append(
                    LLB.FileAction(
                        input: input, secondaryInput: sources[number], output: number == steps.count - 1 ? 0 : -1,
                        step.change.named(byInput: base)))
            }
            return LLB.Op(.file(LLB.FileOp(actions)), inputs: inputs)
        case .run(let run):
            var exec = LLB.ExecOp()
            exec.meta = run.meta
            exec.network = run.network
            exec.security = run.security
            exec.secretVariables = run.secretVariables
            var outputs: Int64 = 0
            let sorted = run.mounts.enumerated().sorted { left, right in
                let (first, second) = (
                    ExactText(left.element.mount.destination), ExactText(right.element.mount.destination)
                )
                return first == second ? left.offset < right.offset : first < second
            }
            for (_, mount) in sorted {
                var made = mount.mount
                made.input = index(of: mount.source)
                made.output = mount.hasOutput ? outputs : -1
                if mount.hasOutput { outputs += 1 }
                exec.mounts.append(made)
            }
            exec.mounts += run.secretMounts
            return LLB.Op(.exec(exec), inputs: inputs, platform: run.platform)
        }
    }
}

extension LLB.FileChange {
    /// The change, with the names of owners looked up in an input.
    fileprivate func named(byInput input: Int64) -> LLB.FileChange {
        switch self {
        case .copy(var copy):
            copy.owner = copy.owner?.named(byInput: input)
            return .copy(copy)
        case .makeDirectory(var directory):
            directory.owner = directory.owner?.named(byInput: input)
            return .makeDirectory(directory)
        default: return self
        }
    }
}

extension LLB.Owner {
    fileprivate func named(byInput input: Int64) -> LLB.Owner {
        var owner = self
        owner.user?.name?.input = input
        owner.group?.name?.input = input
        return owner
    }

    /// The owner of a text like `bob:staff` or `1000`.
    ///
    /// - Source: BuildKit `client/llb/fileop.go: WithUser`.
    init(_ text: String) {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map { String($0) }
        self.init(user: LLB.User(parts[0]), group: parts.count == 2 ? LLB.User(parts[1]) : nil)
    }
}

extension LLB.User {
    fileprivate init(_ text: String) {
        if text.isExactly("root") {
            self.init(id: 0)
        } else if let id = Int32(signedDecimal: text, in: Int32.min...Int32.max) {
            self.init(id: UInt32(bitPattern: id))
        } else if text.isEmpty {
            self.init(id: 0)
        } else {
            self.init(name: text, input: -1)
        }
    }
}
