public import BuildCacheCore

/// The stamps and digests of the files that a scan read, so that the next scan reads only those that changed.
///
/// It is of one directory and one kind of origin: the scan of another directory finds nothing in it. Keep ``encoded()`` in a file that only
/// the user can write: a digest in it is believed.
public struct DirectoryIndex: Sendable {
    struct Entry: Hashable, Sendable {
        var stamp: FileStatus.Stamp
        var digest: Digest
    }
    struct File: Hashable, Sendable {
        var name: [UInt8]
        var entry: Entry
    }

    /// The files of each directory, sorted by the bytes of their names.
    var directories: [[UInt8]: [File]] = [:]
    /// Whether the digests hold owners, as those of a local context do not.
    var hasOwners = false

    /// An empty index.
    public init() {}

    /// The number of files.
    public var count: Int { directories.values.reduce(0) { $0 + $1.count } }

    private static let magic = Array("build-cache directory index 1\n".utf8)
    private static let digestSize = 32
    private static let numberSize = 8

    /// The bytes from which ``init(decoding:)`` makes the index again, the SHA-256 of all others last.
    public func encoded() -> [UInt8] {
        var bytes = DirectoryIndex.magic
        bytes.append(hasOwners ? 1 : 0)
        func append(_ number: UInt64) { withUnsafeBytes(of: number.littleEndian) { bytes.append(contentsOf: $0) } }
        for (path, files) in directories.sorted(by: { $0.key.precedes($1.key) }) {
            append(UInt64(path.count))
            bytes += path
            append(UInt64(files.count))
            for file in files {
                append(UInt64(file.name.count))
                bytes += file.name
                for number in file.entry.stamp.numbers { append(number) }
                bytes += DirectoryIndex.bytes(of: file.entry.digest)
            }
        }
        return bytes + DirectoryIndex.bytes(of: Digest(of: bytes))
    }

    /// The index that ``encoded()`` wrote.
    ///
    /// - Throws: `CacheError` `.corrupted` for other bytes, those of another version among them: then scan without an index.
    public init(decoding bytes: [UInt8]) throws(CacheError) {
        let malformed = CacheError(.corrupted, "the directory index is damaged or of another version; scan without it")
        let body = bytes.dropLast(DirectoryIndex.digestSize)
        guard body.starts(with: DirectoryIndex.magic), body.count > DirectoryIndex.magic.count,
            bytes.suffix(DirectoryIndex.digestSize).elementsEqual(DirectoryIndex.bytes(of: Digest(of: body)))
        else { throw malformed }
        var rest = body.dropFirst(DirectoryIndex.magic.count)
        hasOwners = rest.removeFirst() == 1
        func number() throws(CacheError) -> UInt64 {
            guard rest.count >= DirectoryIndex.numberSize else { throw malformed }
            defer { rest = rest.dropFirst(DirectoryIndex.numberSize) }
            return rest.prefix(DirectoryIndex.numberSize).reversed().reduce(0) { $0 << 8 | UInt64($1) }
        }
        func text() throws(CacheError) -> [UInt8] {
            guard let length = Int(exactly: try number()), length <= rest.count else { throw malformed }
            defer { rest = rest.dropFirst(length) }
            return Array(rest.prefix(length))
        }
        while !rest.isEmpty {
            let path = try text()
            var files: [File] = []
            var count = try number()
            while count > 0 {
                count -= 1
                let name = try text()
                var numbers: [UInt64] = []
                for _ in 0..<FileStatus.Stamp.numberCount { numbers.append(try number()) }
                guard rest.count >= DirectoryIndex.digestSize, let stamp = FileStatus.Stamp(numbers),
                    files.last.map({ $0.name.precedes(name) }) ?? true
                else { throw malformed }
                let digest = rest.prefix(DirectoryIndex.digestSize).withUnsafeBytes { Digest(bytes: $0) }
                rest = rest.dropFirst(DirectoryIndex.digestSize)
                files.append(File(name: name, entry: Entry(stamp: stamp, digest: digest)))
            }
            directories[path] = files
        }
    }

    /// The entry of a name among sorted files.
    static func entry(of name: [UInt8], in files: [File]) -> Entry? {
        var range = files.indices
        while let middle = range.isEmpty ? nil : range.lowerBound + range.count / 2 {
            if files[middle].name == name { return files[middle].entry }
            range = files[middle].name.precedes(name) ? (middle + 1)..<range.upperBound : range.lowerBound..<middle
        }
        return nil
    }

    private static func bytes(of digest: Digest) -> [UInt8] {
        let words = [digest.words.0, digest.words.1, digest.words.2, digest.words.3]
        return words.flatMap { word in withUnsafeBytes(of: word.bigEndian) { Array($0) } }
    }
}
