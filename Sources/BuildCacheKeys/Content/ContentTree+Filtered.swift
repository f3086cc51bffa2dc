import BuildCacheCore

extension ContentTree {
    /// A file that a filtered selector takes.
    private struct Listed {
        /// The name that it would have under the selector's prefix.
        var name: [UInt8]
        var node: Int
        var isHeader: Bool
        /// Whether a directory of the selection contains it.
        var hasParent: Bool
    }

    /// A directory around the present file.
    private struct Around {
        var name: [UInt8]
        var listed: Listed
        var isListed: Bool
        var include: PatternList.Matches
        var exclude: PatternList.Matches
    }

    /// One step of the walk: a directory comes twice, for its content, which is never listed, and for its header.
    private struct Visit {
        var name: [UInt8]
        var node: Int
        var isHeader: Bool
    }

    /// The digest of the files that a wildcard or patterns select, listed one by one.
    ///
    /// - Source: `Documentation/Spec/cache-keys.md` §5.5; BuildKit `cache/contenthash/checksum.go: includedPaths`.
    func filteredDigest(of selector: ContentSelector, epoch: KeyEpoch) throws(CacheError) -> Digest {
        let absolute = BytePath.absolute(selector.path)
        let path = absolute == [BytePath.slash] ? [] : absolute
        let (prefix, listed) = try list(selector, path)
        for required in selector.required
        where !listed.contains(where: { $0.name.starts(with: required.utf8) }) {
            throw notFound(Array(required.utf8))
        }
        var entries: [(name: [UInt8], digest: Digest)] = []
        for entry in listed {
            // Before 0.25 all links were followed, those inside of a selected directory among them.
            let follows = selector.followsLinks && (!entry.hasParent || epoch == .upTo24)
            if follows, nodes[entry.node].kind == .symlink {
                guard let target = try resolve(entry.name, followsFinal: true) else { throw notFound(entry.name) }
                entries.append((entry.name, nodes[target].contents))
            } else {
                entries.append((entry.name, nodes[entry.node].digest))
            }
        }
        guard let first = entries.first else { return ContentTree.empty }
        if entries.count == 1, BytePath.base(path) == BytePath.base(first.name) { return first.digest }
        var bytes: [UInt8] = []
        for (index, entry) in entries.enumerated() {
            if epoch == .from26 {
                let relative = entry.name.dropFirst(prefix.count).map { $0 == BytePath.slash ? 0 : $0 }
                bytes += relative.isEmpty ? [0] : relative
            } else {
                if index > 0 { bytes.append(0) }
                bytes += BytePath.base(entry.name)
            }
            bytes += "\(entry.digest)".utf8
        }
        return Digest(of: bytes)
    }

    /// The files that a selector takes, in the order of their names, and the prefix of these.
    private func list(
        _ selector: ContentSelector, _ path: [UInt8]
    ) throws(CacheError) -> (prefix: [UInt8], listed: [Listed]) {
        let include = selector.include.isEmpty ? nil : try PatternList(selector.include)
        let exclude = selector.exclude.isEmpty ? nil : try PatternList(selector.exclude)
        let wildcard = selector.isWildcard ? try WildcardPattern(path) : nil
        let (prefix, start) = try start(of: selector, path)
        var listed: [Listed] = []
        guard let start else { return (prefix, []) }
        var around: [Around] = []
        var lastMatch: [UInt8] = []
        var rest = [Visit(name: prefix, node: start, isHeader: false)]
        while let visit = rest.popLast() {
            let node = nodes[visit.node]
            if node.kind == .directory {
                if visit.isHeader {
                    for child in node.children.reversed() {
                        let name = visit.name + [BytePath.slash] + nodes[child].name
                        rest.append(Visit(name: name, node: child, isHeader: false))
                    }
                } else {
                    rest.append(Visit(name: visit.name, node: visit.node, isHeader: true))
                }
            }
            while let last = around.last, !visit.name.isBelow(last.name) || visit.name == last.name {
                around.removeLast()
            }
            let endsInSlash = selector.path.isEmpty || BytePath.absolute(selector.path) == [BytePath.slash]
            if visit.isHeader, visit.name == path, endsInSlash { continue }
            var base = path
            if let wildcard {
                if !path.isEmpty, lastMatch.isEmpty || !visit.name.isBelow(lastMatch) || visit.name == lastMatch {
                    guard wildcard.matches(visit.name) else { continue }
                    lastMatch = visit.name
                }
                base = lastMatch
            }
            let candidate = Array(visit.name.dropFirst(base.count).drop { $0 == BytePath.slash })
            var entry = Around(
                name: visit.name,
                listed: Listed(
                    name: visit.name, node: visit.node, isHeader: visit.isHeader, hasParent: !around.isEmpty),
                isListed: false, include: .init(), exclude: .init())
            var isIncluded = true
            if let include {
                isIncluded = include.matches(candidate, below: around.last?.include ?? .init(), &entry.include)
            }
            if isIncluded, let exclude {
                isIncluded = !exclude.matches(candidate, below: around.last?.exclude ?? .init(), &entry.exclude)
            }
            if node.kind == .directory, !visit.isHeader { continue }
            if isIncluded {
                for index in around.indices where !around[index].isListed {
                    listed.append(around[index].listed)
                    around[index].isListed = true
                }
                listed.append(entry.listed)
                entry.isListed = true
            }
            if visit.isHeader { around.append(entry) }
        }
        return (prefix, listed)
    }

    /// The file at which the walk begins, if it exists, and the prefix of all names.
    private func start(
        of selector: ContentSelector, _ path: [UInt8]
    ) throws(CacheError) -> (prefix: [UInt8], node: Int?) {
        guard selector.isWildcard else { return (path, try resolve(path, followsFinal: false)) }
        let parts = BytePath.parts(path)
        let plain = parts.prefix { !WildcardPattern.isWildcard($0) }
        guard !plain.isEmpty else { return ([], 0) }
        let prefix = Array(plain.map { [BytePath.slash] + $0 }.joined())
        return (prefix, try resolve(prefix, followsFinal: plain.count < parts.count))
    }
}

extension [UInt8] {
    /// Whether a path is another one, or below it.
    fileprivate func isBelow(_ directory: [UInt8]) -> Bool {
        starts(with: directory) && (count == directory.count || self[directory.count] == BytePath.slash)
    }
}
