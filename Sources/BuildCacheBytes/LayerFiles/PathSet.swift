/// A hash of a path in a tree, keyed so that no layer can choose paths with equal ones.
///
/// 127 bits tell paths apart; one bit says whether the path is a directory's.
struct PathKey: Hashable, Sendable {
    private(set) var high: UInt64
    private(set) var low: UInt64

    /// The key of the root of a tree, different each time.
    static func root() -> PathKey {
        PathKey(high: .random(in: 1...UInt64.max), low: .random(in: UInt64.min...UInt64.max)).asDirectory
    }

    /// The key of a name in the directory with this key; as a file's.
    @inline(__always)
    func child(_ name: UnsafeRawBufferPointer) -> PathKey {
        var hasher = Hasher()
        hasher.combine(high)
        hasher.combine(low)
        hasher.combine(bytes: name)
        var second = hasher
        second.combine(true)
        // Zero marks free places of a set.
        let high = UInt64(bitPattern: Int64(hasher.finalize()))
        return PathKey(
            high: high == 0 ? 1 : high, low: UInt64(bitPattern: Int64(second.finalize())) & ~1)
    }

    /// The key of a name in the directory with this key; as a file's.
    func child(_ name: some Collection<UInt8>) -> PathKey {
        if let key = name.withContiguousStorageIfAvailable({ child(UnsafeRawBufferPointer($0)) }) { return key }
        return Array(name).withUnsafeBytes { child($0) }
    }

    var asDirectory: PathKey { PathKey(high: high, low: low | 1) }
    var asFile: PathKey { PathKey(high: high, low: low & ~1) }
    fileprivate var isDirectory: Bool { low & 1 == 1 }

    private init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }
}

/// The paths of one layer, 16 bytes each in a table that is at most three quarters full.
struct PathSet {
    /// The kinds of entries that a layer has at a path: one after the other it may have both.
    struct Kinds: OptionSet {
        let rawValue: UInt8
        static let file = Kinds(rawValue: 1)
        static let directory = Kinds(rawValue: 2)
    }

    private var table = [(UInt64, UInt64)](repeating: (0, 0), count: 1024)
    private var count = 0

    /// The kinds of entries at the path of this key.
    func kinds(_ key: PathKey) -> Kinds {
        var kinds: Kinds = []
        var place = Int(truncatingIfNeeded: key.high) & (table.count - 1)
        while table[place].0 != 0 {
            if table[place].0 == key.high, table[place].1 | 1 == key.low | 1 {
                kinds.insert(table[place].1 & 1 == 1 ? .directory : .file)
            }
            place = (place + 1) & (table.count - 1)
        }
        return kinds
    }

    /// Notes a path, and returns the kinds noted before.
    @discardableResult
    mutating func insert(_ key: PathKey) -> Kinds {
        var kinds: Kinds = []
        var place = Int(truncatingIfNeeded: key.high) & (table.count - 1)
        while table[place].0 != 0 {
            if table[place].0 == key.high, table[place].1 | 1 == key.low | 1 {
                kinds.insert(table[place].1 & 1 == 1 ? .directory : .file)
            }
            place = (place + 1) & (table.count - 1)
        }
        guard !kinds.contains(key.isDirectory ? .directory : .file) else { return kinds }
        table[place] = (key.high, key.low)
        count += 1
        if count * 4 > table.count * 3 { grow() }
        return kinds
    }

    private mutating func grow() {
        var larger = [(UInt64, UInt64)](repeating: (0, 0), count: table.count * 2)
        for entry in table where entry.0 != 0 {
            var place = Int(truncatingIfNeeded: entry.0) & (larger.count - 1)
            while larger[place].0 != 0 { place = (place + 1) & (larger.count - 1) }
            larger[place] = entry
        }
        table = larger
    }
}
