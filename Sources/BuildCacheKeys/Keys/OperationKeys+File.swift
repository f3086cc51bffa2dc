import BuildCacheCore

extension LLB.FileOp {
    /// Writes the actions, and the indices if they are not those of a single chain.
    ///
    /// - Source: `Documentation/Spec/cache-keys.md` §3.3; BuildKit `solver/llbsolver/ops/file.go: CacheMap`.
    func write(to writer: inout JSONWriter, inputCount: Int) throws(CacheError) {
        writer.key("Actions")
        writer.beginArray()
        for action in actions { writer.string(utf8: Base64.encode(try action.json(inputCount: inputCount))) }
        writer.endArray()
        guard !hasDefaultIndices else { return }
        writer.key("indexes")
        writer.beginArray()
        for action in actions {
            writer.beginArray()
            for index in [action.input, action.secondaryInput, action.output] { writer.integer(index) }
            writer.endArray()
        }
        writer.endArray()
    }

    /// Whether the first action changes input 0, each other one the action before it, and the last is the output.
    private var hasDefaultIndices: Bool {
        actions.indices.allSatisfy { index in
            let action = actions[index]
            let input = index == 0 ? 0 : Int64(actions.count + index - 1)
            return action.input == input && (action.secondaryInput == -1 || action.secondaryInput == 1)
                && action.output == (index == actions.count - 1 ? 0 : -1)
        }
    }
}

extension LLB.FileAction {
    /// Whether the source of a copy is an input and not an earlier action.
    fileprivate func copiesInput(count: Int) -> Bool { secondaryInput != -1 && secondaryInput < Int64(count) }

    fileprivate func json(inputCount: Int) throws(CacheError) -> [UInt8] {
        var json = KeyJSON()
        switch change {
        case .copy(var copy):
            if copiesInput(count: inputCount) {
                copy.source = String(decoding: BytePath.base(Array(copy.source.utf8)), as: UTF8.self)
            }
            json.object(copy)
        case .makeFile(let file): json.object(file)
        case .makeDirectory(let directory): json.object(directory)
        case .remove(let remove): json.object(remove)
        case .symlink(let link): json.object(link)
        case nil: throw CacheError(.unsupported, "a file operation has an action whose key is not known")
        }
        return json.writer.bytes
    }
}

extension OperationKeys {
    /// The inputs of changes of files.
    ///
    /// - Source: `Documentation/Spec/cache-keys.md` §3.3; BuildKit `solver/llbsolver/ops/file.go: CacheMap`.
    static func inputs(of file: LLB.FileOp, count: Int) throws(CacheError) -> [Input] {
        var selected: [Int64: [ContentSelector]] = [:]
        // A changed input is in the result as a whole, so no part of it can be selected.
        let bases = Set(file.actions.map(\.input))
        for action in file.actions {
            switch action.change {
            case .copy(let copy):
                select(owner: copy.owner, &selected)
                guard action.copiesInput(count: count) else { continue }
                var selector = ContentSelector(Array(copy.source.utf8), followsLinks: copy.followsSymlinks)
                selector.isWildcard = copy.allowsWildcard && WildcardPattern.isWildcard(selector.path)
                selector.include = copy.includePatterns
                selector.exclude = copy.excludePatterns
                selector.required = copy.requiredPaths
                selected[action.secondaryInput, default: []].append(selector)
            case .makeFile(let file): select(owner: file.owner, &selected)
            case .makeDirectory(let directory): select(owner: directory.owner, &selected)
            default: break
            }
        }
        for input in selected.keys where !(0..<Int64(count)).contains(input) {
            throw CacheError(.corrupted, "a file operation uses input \(input), which does not exist")
        }
        return (0..<Int64(count)).map { input in
            guard let selectors = selected[input], !bases.contains(input) else { return Input() }
            return Input(
                // Descending, for a reason that BuildKit calls historical.
                selector: selector(of: selectors.map(\.path).sorted { $1.precedes($0) }), content: reduced(selectors))
        }
    }

    /// The files that say the numbers of an owner's names.
    private static func select(owner: LLB.Owner?, _ selected: inout [Int64: [ContentSelector]]) {
        if let name = owner?.user?.name {
            guard name.input >= 0 else { return }
            selected[name.input, default: []].append(ContentSelector("/etc/passwd", followsLinks: true))
        }
        if let name = owner?.group?.name, name.input >= 0 {
            selected[name.input, default: []].append(ContentSelector("/etc/group", followsLinks: true))
        }
    }

    /// Plain paths without those below others, and all filtered selectors, sorted by path.
    private static func reduced(_ selectors: [ContentSelector]) -> [ContentSelector] {
        let plain = selectors.filter { !$0.isFiltered }
        var result: [ContentSelector] = []
        for follows in [false, true] {
            let paths = reduced(plain.filter { $0.followsLinks == follows }.map(\.path))
            result += paths.map { ContentSelector($0, followsLinks: follows) }
        }
        result += selectors.filter(\.isFiltered)
        return result.enumerated().sorted { left, right in
            left.element.path == right.element.path
                ? left.offset < right.offset : left.element.path.precedes(right.element.path)
        }.map(\.element)
    }
}
