import BuildCacheCore
import BuildCacheKeys

extension DockerfileConverter {
    /// Adds the operations of a `RUN`.
    ///
    /// - Source: BuildKit `frontend/dockerfile/dockerfile2llb/convert.go: dispatchRun`, `convert_runmount.go`.
    mutating func apply(
        _ run: Instruction.Run, _ sources: [Int?], _ origin: OperationGraph.Origin, _ state: inout StageState,
        _ expand: (Text) throws(CacheError) -> Text
    ) throws(CacheError) {
        var meta = LLB.Meta()
        meta.environment = state.entries
        meta.workingDirectory = state.directory
        meta.user = state.user
        meta.hostname = options.hostname
        meta.extraHosts = options.extraHosts
        meta.limits = options.limits
        meta.cgroupParent = options.cgroupParent
        meta.removesMountStubs = true
        meta.proxy = proxy
        var root = LLB.Mount(input: -1, at: "/")
        root.output = 0
        var process = OperationGraph.Run(
            meta: meta, mounts: [.init(source: state.output, mount: root, hasOutput: true)],
            network: try network(run.network), security: try security(run.security), platform: state.platform)
        process.meta.arguments = try arguments(of: run, state, &process)
        var agents = 0
        for (index, text) in run.mounts.enumerated() {
            let mount = try RunMount(text, expand: expand)
            switch mount.kind {
            case .secret: addSecret(mount, to: &process)
            case .ssh:
                addAgent(mount, number: agents, to: &process)
                agents += 1
            case .bind, .cache, .tmpfs:
                process.mounts.append(try self.mount(mount, sources[index], state))
            }
        }
        // Agents stand behind secrets, whatever the order of the flags.
        let secrets = process.secretMounts.filter { $0.kind == .secret }
        process.secretMounts = secrets + process.secretMounts.filter { $0.kind == .ssh }
        if options.sharedMemory > 0 {
            var memory = LLB.Mount(input: -1, at: "/dev/shm")
            memory.kind = .tmpfs
            memory.tmpfs = LLB.TmpfsOptions()
            memory.tmpfs?.size = options.sharedMemory
            process.mounts.append(.init(source: nil, mount: memory))
        }
        state.output = graph.add(.run(process), origin)
    }

    /// The program and its arguments; a document that is a script becomes a file.
    private mutating func arguments(
        of run: Instruction.Run, _ state: StageState, _ process: inout OperationGraph.Run
    ) throws(CacheError) -> [String] {
        guard let first = run.heredocs.first, let line = run.command.words.first, run.command.needsShell else {
            return words(of: run.command, state)
        }
        func inShell(_ text: Text) -> [String] {
            words(of: Instruction.Command(words: [text], needsShell: true), state)
        }
        guard try Heredoc(word: line) != nil else {
            // The shell reads the documents itself.
            return inShell(run.heredocs.reduce(line) { $0 + ["\n"] + $1.content + $1.name })
        }
        let body = first.body
        guard body.hasPrefix("#!") else { return inShell(body) }
        var file = LLB.MakeFile()
        file.path = UnixPath.absolute(first.name.string)
        file.mode = 0o755
        file.data = Array(body.string.utf8)
        file.timestamp = -1
        let made = graph.add(.files(base: nil, [.init(source: nil, change: .makeFile(file))]), nil)
        var mount = LLB.Mount(input: 0, at: "/dev/pipes/")
        mount.selector = "/"
        mount.isReadOnly = true
        process.mounts.append(.init(source: made, mount: mount))
        return inShell(Text(UnixPath.join("/dev/pipes/", first.name.string)))
    }

    private mutating func mount(
        _ mount: RunMount, _ source: Int?, _ state: StageState
    ) throws(CacheError) -> OperationGraph.Mount {
        let target = mount.target.string
        let isAbsolute = UnixPath.isAbsolute(UnixPath.clean(target))
        var made = LLB.Mount(
            input: -1, at: isAbsolute ? target : UnixPath.join("/", state.directory, target))
        guard !made.destination.isExactly("/") else {
            throw CacheError(.invalidSpec, "invalid mount target \(target.quoted): expected a path below the root")
        }
        made.isReadOnly = mount.isReadOnly
        var node: OperationGraph.Node?
        switch mount.kind {
        case .tmpfs:
            made.kind = .tmpfs
            made.tmpfs = LLB.TmpfsOptions()
            made.tmpfs?.size = mount.size
        case .cache:
            made.kind = .cache
            made.cache = LLB.CacheOptions()
            let id = mount.id.isEmpty ? UnixPath.clean(target) : mount.id.string
            made.cache?.id = "\(options.cacheMountNamespace)/\(id)"
            made.cache?.sharing = mount.sharing == .private ? .private : mount.sharing == .locked ? .locked : .shared
            node = try source.map { stage throws(CacheError) in try finished(stage).output } ?? nil
        default:
            if mount.from.isEmpty {
                node = context()
            } else {
                node = try source.map { stage throws(CacheError) in try finished(stage).output } ?? nil
            }
        }
        if mount.from.isEmpty, mount.kind != .cache { use(contextPath: mount.source) }
        let path = UnixPath.absolute(mount.source.string)
        if !path.isExactly("/") {
            made.selector = path
        } else if mount.uid != nil || mount.gid != nil || mount.mode != nil {
            var directory = LLB.MakeDirectory()
            directory.path = "/cache"
            directory.mode = Int32(truncatingIfNeeded: mount.mode ?? 0o755)
            directory.owner = LLB.Owner(user: LLB.User(id: mount.uid ?? 0), group: LLB.User(id: mount.gid ?? 0))
            directory.timestamp = -1
            node = graph.add(.files(base: node, [.init(source: nil, change: .makeDirectory(directory))]), nil)
            made.selector = "/cache"
        }
        return OperationGraph.Mount(source: node, mount: made)
    }

    private func addSecret(_ mount: RunMount, to process: inout OperationGraph.Run) {
        var id = mount.source.isEmpty ? mount.id.string : mount.source.string
        if id.isEmpty { id = UnixPath.base(mount.target.string) }
        if let variable = mount.variable {
            var secret = LLB.SecretVariable()
            secret.id = id
            secret.name = variable.string
            secret.isOptional = !mount.isRequired
            process.secretVariables.append(secret)
            // A secret in a variable is a file only if it has a target, too.
            if mount.target.isEmpty { return }
        }
        let target = mount.target.isEmpty ? "/run/secrets/\(UnixPath.base(id))" : mount.target.string
        var made = LLB.Mount(input: -1, at: target, output: 0)
        made.kind = .secret
        made.secret = mount.options(id: id, mode: 0o400)
        process.secretMounts.append(made)
    }

    private func addAgent(_ mount: RunMount, number: Int, to process: inout OperationGraph.Run) {
        let target = mount.target.isEmpty ? "/run/buildkit/ssh_agent.\(number)" : mount.target.string
        var made = LLB.Mount(input: -1, at: target, output: 0)
        made.kind = .ssh
        made.ssh = mount.options(id: mount.id.string, mode: 0o600)
        process.secretMounts.append(made)
        let name = "SSH_AUTH_SOCK="
        if !process.meta.environment.contains(where: { $0.utf8.starts(with: name.utf8) }) {
            process.meta.environment.append(name + target)
        }
    }

    // MARK: Options

    private func network(_ text: Text?) throws(CacheError) -> LLB.NetworkMode {
        switch text?.string {
        case nil, "default": return options.network
        case "none": return .none
        case "host": return .host
        case let other?:
            throw CacheError(.invalidSpec, "invalid network \(other.quoted): expected default, none or host")
        }
    }

    private func security(_ text: Text?) throws(CacheError) -> LLB.SecurityMode {
        switch text?.string {
        case nil, "sandbox": return .sandbox
        case "insecure": return .insecure
        case let other?:
            throw CacheError(.invalidSpec, "invalid security \(other.quoted): expected sandbox or insecure")
        }
    }

    /// The proxies among the caller's arguments, which processes get and keys do not hold.
    private var proxy: LLB.Proxy? {
        var proxy = LLB.Proxy()
        var isSet = false
        for (name, value) in options.buildArguments.sorted(by: { ExactText($0.key) < ExactText($1.key) }) {
            switch name.lowercased() {
            case "http_proxy": proxy.http = value
            case "https_proxy": proxy.https = value
            case "ftp_proxy": proxy.ftp = value
            case "no_proxy": proxy.no = value
            case "all_proxy": proxy.all = value
            default: continue
            }
            isSet = true
        }
        return isSet ? proxy : nil
    }
}

extension RunMount {
    fileprivate func options(id: String, mode usual: UInt32) -> LLB.SecretOptions {
        var options = LLB.SecretOptions()
        options.id = id
        options.isOptional = !isRequired
        options.uid = uid ?? 0
        options.gid = gid ?? 0
        options.mode = mode ?? usual
        return options
    }
}
