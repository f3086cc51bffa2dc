import BuildCacheCore
import BuildCacheKeys

extension DockerfileConverter {
    /// Adds the operations of a `COPY` or an `ADD`.
    ///
    /// - Source: BuildKit `frontend/dockerfile/dockerfile2llb/convert_copy.go`.
    mutating func apply(
        _ copy: Instruction.Copy, _ sources: [Int?], _ origin: OperationGraph.Origin, _ state: inout StageState,
        _ expand: (Text) throws(CacheError) -> Text
    ) throws(CacheError) {
        var template = LLB.Copy()
        template.timestamp = -1
        template.createsDestinationPath = true
        if let owner = copy.owner { template.owner = LLB.Owner(try expand(owner).string) }
        let mode = try copy.mode.map { text throws(CacheError) in try expand(text).string } ?? ""
        (template.mode, template.modeText) = try DockerfileConverter.mode(mode)
        template.excludePatterns = copy.excludes.map(\.string)

        var paths: [Text] = []
        var documents: [Heredoc] = []
        for word in copy.sources {
            if let heredoc = try Heredoc(word: word) {
                guard let written = copy.heredocs.last(where: { $0.name == heredoc.name }) else {
                    throw CacheError(.unsupported, "the document \(heredoc.name.string.quoted) is not written")
                }
                documents.append(written)
            } else {
                paths.append(try expand(word))
            }
        }
        template.destination = UnixPath.destination(
            try expand(copy.destination).string, parent: state.directory)

        // Files of the context are marked as used even if a later instruction fails.
        let source = try self.source(of: paths, sources)
        var steps: [OperationGraph.FileStep] = []
        for path in paths {
            try DockerfileConverter.checkLocal(path, isAdd: copy.isAdd)
            let step = fileCopy(of: path, copy, template)
            steps.append(OperationGraph.FileStep(source: source, change: .copy(step)))
        }
        for document in documents { steps.append(try step(of: document, template, state)) }
        let isLayer = copy.isLink && mode.isEmpty
        guard isLayer else {
            state.output = graph.add(.files(base: state.output, steps), origin)
            return
        }
        let layer = graph.add(.files(base: nil, steps), origin)
        // Nothing under the new files leaves them alone.
        state.output = state.output.map { graph.add(.merge([$0, layer]), origin) } ?? layer
    }

    private mutating func source(of paths: [Text], _ sources: [Int?]) throws(CacheError) -> OperationGraph.Node? {
        if let stage = sources.first.flatMap({ $0 }) { return try finished(stage).output }
        for path in paths { use(contextPath: path) }
        return paths.isEmpty ? nil : context()
    }

    /// Checks that a source is a file of the context or of a stage.
    private static func checkLocal(_ path: Text, isAdd: Bool) throws(CacheError) {
        let text = path.string
        let isRemote = text.utf8.starts(with: "http://".utf8) || text.utf8.starts(with: "https://".utf8)
        // BuildKit would take it for a repository.
        let isRepository =
            ["git://", "ssh://", "git@"].contains { text.utf8.starts(with: $0.utf8) }
            || path.prefix { $0 != "/" }.contains("@") && path.prefix { $0 != "/" }.contains(":")
        guard !isRemote, !isRepository else {
            throw CacheError(
                .unsupported,
                "the source \(text.quoted) is not supported: expected a file of the context, of a stage or of an image")
        }
    }

    private func fileCopy(of path: Text, _ copy: Instruction.Copy, _ template: LLB.Copy) -> LLB.Copy {
        var step = template
        step.followsSymlinks = true
        step.copiesDirectoryContents = true
        step.allowsWildcard = true
        step.allowsEmptyWildcard = true
        step.unpacksArchives = copy.unpacks ?? copy.isAdd
        var source = path.string
        if copy.keepsParents {
            // The path before the pivot is not kept.
            var pattern = source
            source = "/"
            if let pivot = path.indices.first(where: { path[$0...].starts(with: "/./".unicodeScalars) }) {
                source = Text(path[..<pivot]).string
                pattern = Text(path[(pivot + 3)...]).string
            }
            pattern = UnixPath.normalize(pattern, parent: "/")
            step.includePatterns = [String(pattern.drop { $0 == "/" })]
            if pattern.utf8.first == UInt8(ascii: "/") {
                step.includePatterns = [Text(Text(pattern).dropFirst()).string]
            }
            let isWildcard = [source, pattern].contains { WildcardPattern.isWildcard(Array($0.utf8)) }
            if !isWildcard { step.requiredPaths = [UnixPath.join("/", source, pattern)] }
        }
        step.source = UnixPath.absolute(UnixPath.normalize(source, parent: "/"))
        return step
    }

    /// Copies a document, which is a file of a file system of its own.
    private mutating func step(
        of document: Heredoc, _ template: LLB.Copy, _ state: StageState
    ) throws(CacheError) -> OperationGraph.FileStep {
        var body = document.body
        if document.expands {
            var lexer = ShellLexer()
            lexer.ignoresQuotes = true
            body = try lexer.expand(body) { state.value(of: $0) }
            try DockerfileConverter.spend(body.count, of: &budget)
        }
        var file = LLB.MakeFile()
        file.path = UnixPath.absolute(document.name.string)
        file.mode = 0o644
        file.data = Array(body.string.utf8)
        file.timestamp = -1
        let made = graph.add(.files(base: nil, [.init(source: nil, change: .makeFile(file))]), nil)
        var step = template
        step.source = file.path
        return OperationGraph.FileStep(source: made, change: .copy(step))
    }

    /// Permissions as a number or as text of `chmod`; -1 keeps them.
    private static func mode(_ text: String) throws(CacheError) -> (number: Int32, text: String) {
        if text.isEmpty { return (-1, "") }
        if text.utf8.allSatisfy({ (48...57).contains($0) }) {
            guard let mode = Int32(digits: text, radix: 8, in: 0...0o7777) else {
                throw CacheError(.invalidSpec, "invalid permissions \(text.quoted): expected 0 to 7777 in octal")
            }
            return (mode, "")
        }
        let isValid = text.split(separator: ",", omittingEmptySubsequences: false).allSatisfy { clause in
            let rest = clause.drop { "ugoa".contains($0) }
            return rest.first.map { "+-=".contains($0) } == true && rest.allSatisfy { "+-=rwxXstugo".contains($0) }
        }
        guard isValid else {
            throw CacheError(.invalidSpec, "invalid permissions \(text.quoted): expected a form like 644 or u+x,g=r")
        }
        return (0, text)
    }
}
