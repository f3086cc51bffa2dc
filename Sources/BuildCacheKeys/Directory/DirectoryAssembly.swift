import BuildCacheCore

/// Puts the results of a ``DirectoryReader`` together.
struct DirectoryAssembly {
    private struct Directory {
        var path: [UInt8]
        var parent: Int
        /// The directory in its parent; `nil` for the root.
        var own: DirectoryReader.Found?
        var files: [DirectoryReader.Found] = []
        var children: [Int] = []
        /// Whether it is in the tree: not if it and all that is in it is ignored.
        var isKept = true

        /// Whether the tree has nothing in it.
        func isEmpty(in directories: [Directory]) -> Bool {
            files.isEmpty && !children.contains { directories[$0].isKept }
        }
    }

    private let origin: ContentTreeBuilder.Origin
    private var directories: [Directory] = [Directory(path: [], parent: -1, own: nil)]
    private var index = DirectoryIndex()
    private var hashedFiles = 0

    init(origin: ContentTreeBuilder.Origin) {
        self.origin = origin
        index.hasOwners = origin == .layers
    }

    /// Takes a result and returns the jobs that follow from it.
    mutating func take(_ result: DirectoryReader.Result) -> [DirectoryReader.Job] {
        var jobs: [DirectoryReader.Job] = []
        let (directory, path) = (result.job.directory, result.job.path)
        hashedFiles += result.hashedFiles
        for found in result.found {
            guard found.kind == .directory else {
                directories[directory].files.append(found)
                continue
            }
            let ownPath = path.isEmpty ? found.name : path + [BytePath.slash] + found.name
            directories[directory].children.append(directories.count)
            jobs.append(
                DirectoryReader.Job(directory: directories.count, path: ownPath, names: nil, matches: found.matches))
            directories.append(
                Directory(path: ownPath, parent: directory, own: found, isKept: !found.isIgnored))
        }
        if !result.rest.isEmpty {
            // Half for each, so that the names of a large directory are soon spread over all processors.
            let middle = result.rest.count / 2
            for names in [result.rest[..<middle], result.rest[middle...]] where !names.isEmpty {
                var job = result.job
                job.names = Array(names)
                jobs.append(job)
            }
        }
        return jobs
    }

    mutating func finish(now: Int64) -> (ContentTree, DirectoryIndex, Int) {
        // Children have larger numbers, so going backwards meets them first.
        for number in directories.indices.dropFirst().reversed() {
            let hasFiles = !directories[number].files.isEmpty
            if hasFiles || directories[number].isKept {
                directories[number].isKept = true
                directories[directories[number].parent].isKept = true
            }
        }
        var nodes = [ContentTree.Node(root: origin, isEmpty: directories[0].isEmpty(in: directories))]
        var numbers = [0]
        var place = 0
        while place < nodes.count {
            let number = numbers[place]
            guard number >= 0 else {
                place += 1
                continue
            }
            var children = directories[number].files
            var childNumbers = [Int](repeating: -1, count: children.count)
            for child in directories[number].children where directories[child].isKept {
                guard let own = directories[child].own else { continue }
                children.append(own)
                childNumbers.append(child)
            }
            let order = children.indices.sorted { children[$0].name.precedes(children[$1].name) }
            nodes[place].children = nodes.count..<(nodes.count + children.count)
            var files: [DirectoryIndex.File] = []
            files.reserveCapacity(children.count)
            for child in order {
                nodes.append(ContentTree.Node(children[child]))
                numbers.append(childNumbers[child])
                if let entry = children[child].entry, !DirectoryReader.mayChangeUnseen(entry.stamp, now: now) {
                    files.append(DirectoryIndex.File(name: children[child].name, entry: entry))
                }
            }
            if !files.isEmpty { index.directories[directories[number].path] = files }
            place += 1
        }
        return (ContentTree(sorted: nodes), index, hashedFiles)
    }
}

extension ContentTree.Node {
    fileprivate init(_ found: DirectoryReader.Found) {
        self.init(
            name: found.name, kind: found.kind, digest: found.digest, contents: found.digest, target: found.target)
    }
}
