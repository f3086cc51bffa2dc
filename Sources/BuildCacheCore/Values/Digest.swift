/// The SHA-256 of some stored bytes: `sha256:` and 64 lower-case hexadecimal digits.
///
/// SHA-256 is the only algorithm: BuildKit computes nothing else, and a digest of another one is refused with `.unsupported`
/// where text is parsed, not later. A digest orders as its text does.
///
/// - Source: OCI image-spec, descriptor.md "Digests"; BuildKit uses go-digest's canonical algorithm throughout.
public struct Digest: Hashable, Sendable {
    // Big-endian words: comparing them in order is comparing the text, without an allocation per digest.
    package var words: (UInt64, UInt64, UInt64, UInt64)

    package init(words: (UInt64, UInt64, UInt64, UInt64)) {
        self.words = words
    }

    /// Parses `sha256:` and 64 lower-case hexadecimal digits.
    ///
    /// - Throws: ``CacheError`` `.unsupported` for another algorithm, `.corrupted` for anything that is no digest.
    public init(_ text: some StringProtocol) throws(CacheError) {
        var text = String(text)
        let parsed = text.withUTF8 { Digest(utf8: UnsafeRawBufferPointer($0)) }
        guard let parsed else {
            let known = ["sha512:", "sha384:"].contains { text.hasPrefix($0) }
            throw known
                ? CacheError(
                    .unsupported, "digest \(text.quoted) is not sha256, the only algorithm of build caches")
                : CacheError(
                    .corrupted, "\(text.quoted) is no digest: sha256: and 64 lower-case hex digits are expected"
                )
        }
        self = parsed
    }

    /// The digest written at exactly these bytes, or `nil` if they are anything else.
    package init?(utf8 bytes: UnsafeRawBufferPointer) {
        guard bytes.count == 71, bytes.prefix(7).elementsEqual("sha256:".utf8) else { return nil }
        self.init(hex: UnsafeRawBufferPointer(rebasing: bytes[7...]))
    }

    /// The digest whose 64 hexadecimal digits these bytes are, or `nil`.
    package init?(hex bytes: UnsafeRawBufferPointer) {
        guard bytes.count == 64 else { return nil }
        var invalid: UInt8 = 0
        func word(_ start: Int) -> UInt64 {
            var word: UInt64 = 0
            for offset in start..<start + 16 {
                let nibble = Digest.nibbles[Int(bytes[offset])]
                invalid |= nibble
                word = word << 4 | UInt64(nibble & 15)
            }
            return word
        }
        words = (word(0), word(16), word(32), word(48))
        guard invalid < 16 else { return nil }
    }

    /// Of the 32 bytes of a SHA-256 value.
    package init(bytes: UnsafeRawBufferPointer) {
        precondition(bytes.count == 32, "SHA-256 has 32 bytes")
        func word(_ offset: Int) -> UInt64 {
            UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
        }
        words = (word(0), word(8), word(16), word(24))
    }

    /// The 64 hexadecimal digits, without the algorithm.
    public var hex: String {
        String(unsafeUninitializedCapacity: 64) { buffer in
            writeHex(into: UnsafeMutableRawBufferPointer(buffer))
            return 64
        }
    }

    /// Writes the 64 hexadecimal digits into the first bytes of `buffer`.
    package func writeHex(into buffer: UnsafeMutableRawBufferPointer) {
        func write(_ word: UInt64, _ start: Int) {
            var word = word
            for offset in stride(from: start + 15, through: start, by: -1) {
                let nibble = UInt8(truncatingIfNeeded: word & 15)
                buffer[offset] = nibble < 10 ? 48 + nibble : 87 + nibble
                word >>= 4
            }
        }
        write(words.0, 0)
        write(words.1, 16)
        write(words.2, 32)
        write(words.3, 48)
    }

    /// 0 to 15 for a lower-case hexadecimal digit, 255 for any other byte.
    private static let nibbles: [UInt8] = (0..<256).map { byte in
        switch UInt8(byte) {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt8(byte) - 48
        case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt8(byte) - 87
        default: 255
        }
    }

    /// Compares all 32 bytes.
    public static func == (left: Digest, right: Digest) -> Bool {
        left.words.0 == right.words.0 && left.words.1 == right.words.1
            && left.words.2 == right.words.2 && left.words.3 == right.words.3
    }

    /// Hashes all 32 bytes: whoever wrote a cache chose its digests, so no part of them is random enough alone.
    public func hash(into hasher: inout Hasher) {
        hasher.combine(words.0)
        hasher.combine(words.1)
        hasher.combine(words.2)
        hasher.combine(words.3)
    }
}

extension Digest: Comparable {
    /// Orders as the text does.
    public static func < (left: Digest, right: Digest) -> Bool { left.words < right.words }
}

extension Digest: CustomStringConvertible {
    /// `sha256:` and 64 hexadecimal digits.
    public var description: String { "sha256:" + hex }
}

/// The digest of a layer's uncompressed tar stream.
///
/// A type of its own, because it is mistaken for the digest of the stored blob so easily. For an eStargz layer the
/// stream includes the table of contents (`Documentation/Spec/compression.md` §5.4).
public struct DiffID: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// The SHA-256 of the uncompressed bytes.
    public let digest: Digest

    /// Marks `digest` as one of uncompressed bytes.
    public init(_ digest: Digest) { self.digest = digest }

    /// Parses the text of a digest.
    ///
    /// - Throws: ``CacheError``, as ``Digest/init(_:)``.
    public init(_ text: some StringProtocol) throws(CacheError) { digest = try Digest(text) }

    /// The digest's text.
    public var description: String { digest.description }
    /// Orders as the text does.
    public static func < (left: DiffID, right: DiffID) -> Bool { left.digest < right.digest }
}
