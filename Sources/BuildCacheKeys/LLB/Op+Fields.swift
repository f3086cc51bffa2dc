import BuildCacheCore

extension LLB.Op: LLBMessage {
    mutating func visit(_ fields: inout some FieldVisitor) throws(CacheError) {
        try fields.messages(1, "inputs", &inputMessages)
        try fields.message(10, "platform", &platform)
        try fields.message(11, "constraints", &constraints)
        var exec: LLB.ExecOp?
        var source: LLB.SourceOp?
        var file: LLB.FileOp?
        var build: LLB.BuildOp?
        var merge: LLB.MergeOp?
        var diff: LLB.DiffOp?
        var passthrough: LLB.PassthroughOp?
        switch kind {
        case .exec(let op): exec = op
        case .source(let op): source = op
        case .file(let op): file = op
        case .build(let op): build = op
        case .merge(let op): merge = op
        case .diff(let op): diff = op
        case .passthrough(let op): passthrough = op
        case nil: break
        }
        try fields.message(2, "exec", &exec)
        try fields.message(3, "source", &source)
        try fields.message(4, "file", &file)
        try fields.message(5, "build", &build)
        try fields.message(6, "merge", &merge)
        try fields.message(7, "diff", &diff)
        try fields.message(8, "passthrough", &passthrough)
        kind =
            exec.map { .exec($0) } ?? source.map { .source($0) } ?? file.map { .file($0) } ?? build.map { .build($0) }
            ?? merge.map { .merge($0) } ?? diff.map { .diff($0) } ?? passthrough.map { .passthrough($0) }
    }
}

extension LLB.Constraints: LLBMessage {
    mutating func visit(_ fields: inout some FieldVisitor) throws(CacheError) {
        try fields.strings(1, "filter", &filters)
    }
}

extension LLB.SourceOp: LLBMessage {
    mutating func visit(_ fields: inout some FieldVisitor) throws(CacheError) {
        try fields.string(1, "identifier", &identifier)
        try fields.map(2, "attrs", &attributes)
    }
}

extension LLB.MergeOp: LLBMessage {
    init() { self.init(count: 0) }
    mutating func visit(_ fields: inout some FieldVisitor) throws(CacheError) {
        try fields.messages(1, "inputs", &inputs)
    }
}

extension LLB.DiffOp: LLBMessage {
    mutating func visit(_ fields: inout some FieldVisitor) throws(CacheError) {
        try fields.message(1, "lower", &lower)
        try fields.message(2, "upper", &upper)
    }
}

extension LLB.InputIndex: LLBMessage {
    mutating func visit(_ fields: inout some FieldVisitor) throws(CacheError) {
        try fields.integer(1, "input", &input)
    }
}

extension LLB.PassthroughOp: LLBMessage {
    mutating func visit(_ fields: inout some FieldVisitor) throws(CacheError) {
        try fields.string(1, "id", &id)
        try fields.integers(2, "outputs", &outputs)
    }
}

extension LLB.BuildOp: LLBMessage {
    mutating func visit(_ fields: inout some FieldVisitor) throws(CacheError) {
        try fields.integer(1, "builder", &builder)
        try fields.entries(2, "inputs", &inputs)
        try fields.bytes(3, "def", &definition)
        try fields.map(4, "attrs", &attributes)
    }
}
