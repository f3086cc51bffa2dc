import BuildCacheCore

/// The flags of an instruction, each taken by its name.
struct InstructionFlags {
    private var flags: [(name: String, value: Text?)] = []
    private var taken: Set<String> = []

    init(_ words: [Text]) {
        for word in words {
            let text = Text(word.dropFirst(2))
            if let (name, value) = text.cut("=") {
                flags.append((name.string, value))
            } else {
                flags.append((text.string, nil))
            }
        }
    }

    func isUsed(_ name: String) -> Bool { flags.contains { $0.name == name } }

    mutating func ignoreAll() { flags = [] }

    /// The values of a flag that may stand several times.
    mutating func texts(_ name: String) throws(CacheError) -> [Text] {
        taken.insert(name)
        var values: [Text] = []
        for flag in flags where flag.name == name {
            guard let value = flag.value else { throw CacheError(.invalidSpec, "the flag --\(name) has no value") }
            values.append(value)
        }
        return values
    }

    /// The value of a flag; an empty one counts as absent, as in BuildKit.
    mutating func text(_ name: String) throws(CacheError) -> Text? {
        let values = try texts(name)
        guard values.count < 2 else { throw CacheError(.invalidSpec, "the flag --\(name) stands twice") }
        return values.first.flatMap { $0.isEmpty ? nil : $0 }
    }

    mutating func bool(_ name: String) throws(CacheError) -> Bool? {
        taken.insert(name)
        let found = flags.filter { $0.name == name }
        guard found.count < 2 else { throw CacheError(.invalidSpec, "the flag --\(name) stands twice") }
        guard let flag = found.first else { return nil }
        switch flag.value?.lowercased.string {
        case nil, "true": return true
        case "false": return false
        default: throw CacheError(.invalidSpec, "invalid value of --\(name): expected true or false")
        }
    }

    /// Checks that no flag is left.
    func finish() throws(CacheError) {
        guard let unknown = flags.first(where: { !taken.contains($0.name) }) else { return }
        throw CacheError(.invalidSpec, "unknown flag --\(unknown.name)")
    }
}
