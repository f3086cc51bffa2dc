import BuildCacheCore

extension LLB.ExecOp {
    /// The operation without what no key holds.
    ///
    /// - Source: `Documentation/Spec/cache-keys.md` §3.1.
    var forKey: LLB.ExecOp {
        var exec = self
        exec.meta?.proxy = nil
        if let hosts = exec.meta?.extraHosts.indices {
            for index in hosts { exec.meta?.extraHosts[index].address = "" }
        }
        if mounts.count == 1, mounts[0].isPlainRoot {
            exec.mounts = []
            return exec
        }
        for index in exec.mounts.indices {
            exec.mounts[index].selector = ""
            if exec.mounts[index].cache != nil, !exec.mounts[index].keepsCacheOptions {
                exec.mounts[index].cache = LLB.CacheOptions()
            }
        }
        return exec
    }
}

extension LLB.Mount {
    /// Whether this is the writable root that every step has.
    fileprivate var isPlainRoot: Bool {
        destination.isExactly("/") && kind == .bind && !isReadOnly && cache == nil && ssh == nil && secret == nil
            && resultID.isEmpty
    }

    /// Whether the directory is named after its place, which earlier versions of BuildKit had in the key.
    fileprivate var keepsCacheOptions: Bool {
        guard let cache, cache.sharing == .shared else { return false }
        if cache.id.isExactly(destination) { return true }
        guard let slash = cache.id.utf8.firstIndex(of: BytePath.slash) else { return false }
        return cache.id.utf8[cache.id.utf8.index(after: slash)...].elementsEqual(destination.utf8)
    }
}

extension OperationKeys {
    /// The inputs of a process, as its mounts use them.
    ///
    /// - Source: `Documentation/Spec/cache-keys.md` §3.2; BuildKit `solver/llbsolver/ops/exec.go: getMountDeps`.
    static func inputs(of exec: LLB.ExecOp, count: Int) throws(CacheError) -> [Input] {
        var paths = [[[UInt8]]](repeating: [], count: count)
        var hasContent = [Bool](repeating: false, count: count)
        for mount in exec.mounts where mount.input != -1 && ![.secret, .ssh, .tmpfs].contains(mount.kind) {
            guard let input = Int(exactly: mount.input), (0..<count).contains(input) else {
                throw CacheError(
                    .corrupted,
                    "the mount at \(mount.destination.quoted) is of input \(mount.input), which does not exist")
            }
            let path = BytePath.absolute(Array(mount.selector.utf8))
            paths[input].append(path)
            // Files outside of the selected path would be in the result, and the content key would not know of them.
            let isSafe = mount.output == -1 || mount.isReadOnly || path == [BytePath.slash]
            switch mount.contentCache {
            case .on where !isSafe:
                throw CacheError(
                    .corrupted,
                    "the mount at \(mount.destination.quoted) is writable, so the step cannot be found by its content")
            case .on: hasContent[input] = true
            case .off: hasContent[input] = false
            default: hasContent[input] = isSafe && !mount.destination.isExactly("/")
            }
        }
        return paths.indices.map { index in
            guard !paths[index].isEmpty else { return Input() }
            let selector = selector(of: paths[index])
            guard hasContent[index] else { return Input(selector: selector) }
            let selected = reduced(paths[index])
            let isWhole = selected.contains([BytePath.slash])
            return Input(
                selector: selector,
                content: isWhole ? [.everything] : selected.map { ContentSelector($0, followsLinks: true) })
        }
    }
}
