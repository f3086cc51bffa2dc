public import BuildCacheCore

/// The keys that BuildKit makes of an operation alone: its digest, and the selector and content of each input.
///
/// A step that is published under these keys must do exactly what BuildKit would do. One that does something else hands wrong results to
/// everyone whose builds share the cache.
///
/// - Source: `Documentation/Spec/cache-keys.md` §3; BuildKit `solver/llbsolver/ops`, each `CacheMap`.
public struct OperationKeys: Sendable {
    /// The use that an operation makes of one of its inputs.
    public struct Input: Sendable {
        /// The selector of links to the input's own records; `nil` for none.
        public var selector: Digest?
        /// The files that the content key of the input is made of; `nil` if the step is not found by content.
        public var content: [ContentSelector]?

        /// Uses the whole input by its records alone.
        public init(selector: Digest? = nil, content: [ContentSelector]? = nil) {
            self.selector = selector
            self.content = content
        }
    }

    /// The digest from which the records of all outputs are made; not that of the operation's bytes.
    public var digest: Digest
    /// One for each input of the operation.
    public var inputs: [Input]

    /// The keys of an operation.
    ///
    /// - Parameter defaultPlatform: The platform of a process that names none: the daemon's. Default that of this machine.
    /// - Throws: `CacheError` `.unsupported` for an operation that this module does not know, for a source, whose keys need more than the
    ///   operation (``SourceKeys``), and for a build inside of the build that brings its definition; `.corrupted` for indices that the
    ///   operation has no inputs for.
    public init(of op: LLB.Op, defaultPlatform: LLB.Platform = .host) throws(CacheError) {
        let json = try OperationKeys.json(of: op, defaultPlatform: defaultPlatform)
        digest = Digest(of: json)
        switch op.kind {
        case .exec(let exec): inputs = try OperationKeys.inputs(of: exec, count: op.inputs.count)
        case .file(let file): inputs = try OperationKeys.inputs(of: file, count: op.inputs.count)
        default: inputs = [Input](repeating: Input(), count: op.inputs.count)
        }
    }

    /// The record digest of one output.
    public func record(output: Int) -> Digest { .record(operation: digest, output: output) }

    /// The text whose SHA-256 is the digest.
    static func json(of op: LLB.Op, defaultPlatform: LLB.Platform) throws(CacheError) -> [UInt8] {
        var json = KeyJSON()
        json.writer.beginObject()
        json.writer.key("Type")
        switch op.kind {
        case .exec(let exec):
            json.writer.string("buildkit.exec.v0")
            json.writer.key("Exec")
            json.object(exec.forKey)
            (op.platform ?? defaultPlatform).normalized.write(to: &json.writer)
        case .file(let file):
            json.writer.string("buildkit.file.v0")
            try file.write(to: &json.writer, inputCount: op.inputs.count)
        case .merge(let merge):
            json.writer.string("buildkit.merge.v0")
            json.writer.key("Merge")
            json.object(merge)
        case .diff(let diff):
            json.writer.string("buildkit.diff.v0")
            json.writer.key("Diff")
            json.object(diff)
        case .passthrough(let passthrough):
            json.writer.string("buildkit.passthrough.v0")
            json.writer.key("Passthrough")
            json.object(passthrough)
        case .build(let build):
            guard build.definition.isEmpty else {
                throw CacheError(.unsupported, "no key can be made of a build operation that has its definition inside")
            }
            json.writer.string("buildkit.build.v0")
            json.writer.key("Exec")
            json.object(build)
        case .source(let source):
            throw CacheError(
                .unsupported, "the keys of \(source.identifier.quoted) need what the source resolves to; use SourceKeys"
            )
        case nil: throw CacheError(.unsupported, "the operation is not one of those whose keys are known")
        }
        json.writer.endObject()
        return json.writer.bytes
    }

    /// The selector of some paths.
    static func selector(of paths: [[UInt8]]) -> Digest { Digest(of: Array(paths.joined(separator: [0]))) }

    /// The paths without those that occur twice or lie below another, sorted; a single one stays as it is.
    static func reduced(_ paths: [[UInt8]]) -> [[UInt8]] {
        guard paths.count > 1 else { return paths }
        var kept: [[UInt8]] = []
        // With the slash before all other bytes, what is below a path follows it at once.
        for path in Set(paths).sorted(by: precedesBySlash) {
            if let last = kept.last, path.starts(with: last.last == BytePath.slash ? last : last + [BytePath.slash]) {
                continue
            }
            kept.append(path)
        }
        return kept.sorted { $0.precedes($1) }
    }

    private static func precedesBySlash(_ left: [UInt8], _ right: [UInt8]) -> Bool {
        left.lexicographicallyPrecedes(right) { first, second in
            first != second && (first == BytePath.slash || second != BytePath.slash && first < second)
        }
    }
}
