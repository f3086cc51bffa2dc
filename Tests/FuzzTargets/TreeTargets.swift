import BuildCacheCore
import NIOCore

@testable import BuildCacheBytes

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

extension FuzzTarget {
    /// Layers that are applied to a directory, which nothing may leave.
    static let trees = [unpack, ignore]

    /// A layer made of a program of entries, or a tar whose checksums are put right.
    private static let unpack = FuzzTarget(
        "unpack", seeds: { path, bytes in path.contains("layer-files") && path.hasSuffix(".tar") && bytes.count > 512 }
    ) { input in
        let tree = try FuzzTree.shared.get()
        try await tree.withTurn { directory in
            var options = LayerUnpacker.Options()
            if input.choice & 1 == 1 { options.removals = .overlay }
            if input.choice & 2 == 2 { options.links = .inside }
            options.workers = input.choice & 4 == 4 ? 4 : 1
            options.limits.entries = 200
            options.limits.decompression = DecompressionLimit(maximumBytes: 4 << 20, maximumRatio: 0)
            var program = EntryProgram(EntryProgram.isTar(input.bytes) ? input.bytes : input.rest.bytes)
            // Two layers, so that the second finds what the first has planted.
            for tar in [program.tar(), program.tar()] {
                do {
                    try await LayerUnpacker(options: options).apply(BlobStream(tar), onto: directory)
                } catch is CacheError {}
            }
            if options.links == .inside { try FuzzTree.checkLinks(below: directory) }
        }
    }

    /// An ignore file and a path.
    private static let ignore = FuzzTarget("ignore", seeds: { path, _ in path.hasSuffix(".dockerignore") }) { input in
        let patterns = try IgnorePatterns(parsing: input.text(0))
        var state = IgnoreState(patterns)
        for component in input.text(1).unicodeScalars.split(separator: "/") {
            state = state.evaluate(Array(component), patterns).state
        }
        // A document that was read once is read again.
        if patterns.texts.allSatisfy({ !$0.contains("\n") && !$0.hasPrefix("#") }) {
            _ = try? IgnorePatterns(parsing: patterns.texts.joined(separator: "\n"))
        }
    }
}

/// Entries of a layer, read off the bytes of a fuzzer.
private struct EntryProgram {
    private var rest: ArraySlice<UInt8>
    private let isTar: Bool

    init(_ bytes: [UInt8]) {
        rest = bytes[...]
        isTar = EntryProgram.isTar(bytes)
    }

    static func isTar(_ bytes: [UInt8]) -> Bool { bytes.dropFirst(257).starts(with: "ustar".utf8) }

    private mutating func byte() -> UInt8 { rest.popFirst() ?? 0 }

    /// Half of the entries, or the tar itself.
    mutating func tar() -> ByteBuffer {
        guard !isTar else { return repaired() }
        var tar = ByteBuffer()
        for _ in 0..<(rest.count > 64 ? 24 : 8) where !rest.isEmpty { entry(to: &tar) }
        tar.writeRepeatingByte(0, count: 1024)
        return tar
    }

    /// The bytes with right checksums wherever a header may be.
    private mutating func repaired() -> ByteBuffer {
        var bytes = Array(rest)
        for start in stride(from: 0, to: bytes.count - 511, by: 512)
        where bytes[(start + 257)..<(start + 262)].elementsEqual("ustar".utf8) {
            for place in (start + 148)..<(start + 156) { bytes[place] = 32 }
            var sum = bytes[start..<(start + 512)].reduce(0) { $0 + Int($1) }
            bytes[start + 154] = 0
            for place in stride(from: start + 153, through: start + 148, by: -1) {
                bytes[place] = UInt8(48 + sum % 8)
                sum /= 8
            }
        }
        return ByteBuffer(bytes: bytes)
    }

    private static let names = [
        "a", "b", "c", "a", "b", "d", "..", ".", "", "outside", ".wh.a", ".wh.b", ".wh..wh..opq", ".wh..", ".wh...",
        ".wh..wh.plnk", "tree", "\u{FF}",
    ]

    private mutating func path() -> [UInt8] {
        let head = byte()
        var components: [String] = head & 0x80 == 0 ? [] : [""]
        for _ in 0...(head & 3) { components.append(Self.names[Int(byte()) % Self.names.count]) }
        return Array(components.joined(separator: "/").utf8)
    }

    private mutating func entry(to tar: inout ByteBuffer) {
        let kinds: [TarFields.Kind] = [
            .file, .directory, .symbolicLink, .hardLink, .file, .symbolicLink, .fifo, .characterDevice,
        ]
        let head = byte()
        var fields = TarFields(kind: kinds[Int(head & 7)], path: path())
        fields.mode = head & 8 == 0 ? 0o755 : UInt32(byte()) | UInt32(byte() & 15) << 8
        fields.modified = Int64(head)
        if fields.kind == .symbolicLink || fields.kind == .hardLink {
            fields.linkName = path()
            // Upwards, out of wherever it is.
            if head & 16 == 16 {
                for _ in 0...(byte() & 3) { fields.linkName = Array("../".utf8) + fields.linkName }
            }
        }
        if head & 32 == 32 {
            fields.attributes = [EntryAttributes.Extended(name: Array("user.a".utf8), value: [head])]
        }
        guard fields.kind == .file else { return TarWriter.write(fields, to: &tar) }
        fields.size = Int64(byte())
        TarWriter.write(fields, to: &tar)
        tar.writeRepeatingByte(head, count: Int(fields.size))
        tar.writeRepeatingByte(0, count: TarBlock.padding(behind: fields.size))
    }
}

/// A directory for layers, three levels down in one that is watched.
private final class FuzzTree: Sendable {
    static let shared = Result { try FuzzTree() }

    private let parent: String
    private let before: [String]

    private var directory: String { "\(parent)/x/y/tree" }

    private init() throws {
        let base = getenv("TMPDIR").map { String(cString: $0) } ?? (access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp")
        parent = "\(base)/build-cache-fuzz-\(getpid())"
        for path in ["", "/outside", "/x", "/x/outside", "/x/y", "/x/y/tree", "/x/y/outside", "/a"] {
            guard mkdir(parent + path, 0o755) == 0 else { throw FuzzFault("cannot make \(parent)\(path)") }
        }
        for path in ["/f", "/outside/a", "/x/outside/a", "/x/y/outside/a", "/x/a", "/x/y/a"] {
            guard let file = fopen(parent + path, "w") else { throw FuzzFault("cannot make \(parent)\(path)") }
            fputs("kept", file)
            fclose(file)
        }
        before = FuzzTree.state(parent)
    }

    /// Gives the empty directory to `body`, and looks at everything else behind it.
    func withTurn(_ body: (String) async throws -> Void) async throws {
        defer { empty() }
        try await body(directory)
        let after = FuzzTree.state(parent)
        try check(after == before, "something outside changed: \(Set(after).symmetricDifference(before).sorted())")
    }

    private func empty() {
        guard let root = try? TreeDirectory(root: directory) else { return }
        let descriptor = root.openForListing()
        guard descriptor >= 0, let names = DirectoryListing(consuming: descriptor) else { return }
        for index in names.indices { _ = TreeRemoval.remove(names[index], in: root.descriptor) }
    }

    /// Everything but the directory itself.
    private static func state(_ parent: String) -> [String] {
        var lines: [String] = []
        var waiting = [""]
        while let path = waiting.popLast() {
            guard path != "/x/y/tree",
                let status = withCString(Array((parent + path).utf8), { FileStatus(of: $0, in: AT_FDCWD) })
            else { continue }
            lines.append("\(path) \(status)")
            guard status.isDirectory else { continue }
            let descriptor = open(parent + path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            guard descriptor >= 0, let names = DirectoryListing(consuming: descriptor) else { continue }
            for index in names.indices {
                waiting.append(path + "/" + String(decoding: Array(names[index]), as: UTF8.self))
            }
        }
        return lines.sorted()
    }

    /// Checks that no link of a tree leads out of it.
    static func checkLinks(below directory: String) throws {
        var waiting = [directory]
        while let path = waiting.popLast() {
            let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
            guard descriptor >= 0, let names = DirectoryListing(consuming: descriptor) else { continue }
            for index in names.indices {
                let name = path + "/" + String(decoding: Array(names[index]), as: UTF8.self)
                guard let status = withCString(Array(name.utf8), { FileStatus(of: $0, in: AT_FDCWD) }) else { continue }
                if status.isDirectory { waiting.append(name) }
                guard status.isSymbolicLink, let real = realpath(name, nil) else { continue }
                defer { free(real) }
                let target = String(cString: real)
                try check(target == directory || target.hasPrefix(directory + "/"), "\(name) leads to \(target)")
            }
        }
    }
}
