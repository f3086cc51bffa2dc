/// A file of a layer.
public struct TarFile: Hashable, Sendable {
    /// Where it lies, without a leading slash.
    public var path: String
    /// What is in it.
    public var bytes: [UInt8]

    /// Makes a file.
    public init(path: String, bytes: [UInt8]) {
        self.path = path
        self.bytes = bytes
    }
}

/// Just enough of tar for layers of small regular files: ustar headers, owner root, no times, so that equal files make equal layers.
public enum Tar {
    /// The tar of these files; paths up to 100 bytes.
    public static func write(_ files: [TarFile]) -> [UInt8] {
        var tar: [UInt8] = []
        for file in files {
            var header = [UInt8](repeating: 0, count: 512)
            func put(_ text: String, at offset: Int) {
                header.replaceSubrange(offset..<offset + text.utf8.count, with: text.utf8)
            }
            func octal(_ value: Int, _ digits: Int, at offset: Int) {
                let text = String(value, radix: 8)
                put(String(repeating: "0", count: digits - text.utf8.count) + text, at: offset)
            }
            put(String(file.path.utf8.prefix(100)) ?? "file", at: 0)
            octal(0o644, 7, at: 100)
            for offset in [108, 116] { octal(0, 7, at: offset) }
            octal(file.bytes.count, 11, at: 124)
            octal(0, 11, at: 136)
            put("        0", at: 148)  // the checksum counts as spaces while it is computed; type 0 is a regular file
            put("ustar\u{0}00", at: 257)
            octal(header.reduce(0) { $0 + Int($1) }, 6, at: 148)
            header[154] = 0
            tar += header + file.bytes
            tar += [UInt8](repeating: 0, count: (512 - file.bytes.count % 512) % 512)
        }
        return tar + [UInt8](repeating: 0, count: 1024)
    }

    /// The regular files of a tar that ``write(_:)`` made.
    public static func read(_ tar: [UInt8]) -> [TarFile] {
        var files: [TarFile] = []
        var offset = 0
        while offset + 512 <= tar.count, tar[offset] != 0 {
            let header = tar[offset..<offset + 512]
            func text(_ range: Range<Int>) -> String {
                String(
                    decoding: header[offset + range.lowerBound..<offset + range.upperBound].prefix { $0 != 0 },
                    as: UTF8.self)
            }
            let size = Int(text(124..<136), radix: 8) ?? 0
            let start = offset + 512
            guard start + size <= tar.count else { return files }
            files.append(TarFile(path: text(0..<100), bytes: Array(tar[start..<start + size])))
            offset = start + (size + 511) / 512 * 512
        }
        return files
    }
}
