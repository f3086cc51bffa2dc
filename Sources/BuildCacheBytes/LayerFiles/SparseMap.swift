import BuildCacheCore
import NIOCore

/// The form in which a tar says where the data of a sparse file stand.
enum SparseForm: Hashable, Sendable {
    /// In the headers.
    case map(SparseMap)
    /// In front of the data, as PAX 1.0 has it; the file has this many bytes.
    case inData(size: Int64)

    /// Bytes of the file with its holes.
    var size: Int64 {
        switch self {
        case .map(let map): map.size
        case .inData(let size): size
        }
    }
}

/// The places of a sparse file's data.
///
/// - Source: GNU tar manual, "Storing Sparse Files"; Go `archive/tar/reader.go`, whose checks these are.
struct SparseMap: Hashable, Sendable {
    struct Piece: Hashable, Sendable {
        var offset: Int64
        var length: Int64
    }

    /// In order, not overlapping, inside the file.
    private(set) var pieces: [Piece]
    /// Bytes of the file with its holes.
    private(set) var size: Int64

    /// - Parameter stored: Bytes of data in the tar; `nil` if unknown.
    fileprivate init(_ pieces: [Piece], size: Int64, stored: Int64?) throws(CacheError) {
        var end: Int64 = 0
        var total: Int64 = 0
        for piece in pieces {
            let (next, overflow) = piece.offset.addingReportingOverflow(piece.length)
            guard piece.offset >= end, piece.length >= 0, !overflow, next <= size else { throw SparseMap.malformed }
            end = next
            total += piece.length
        }
        guard size >= 0, stored == nil || stored == total else { throw SparseMap.malformed }
        self.pieces = pieces
        self.size = size
    }

    static let malformed = CacheError(.corrupted, "the map of a sparse file in the tar is malformed")

    static func key(_ name: StaticString) -> [UInt8] { prefix + Array("\(name)".utf8) }
    private static let prefix = Array("GNU.sparse.".utf8)

    private static func number(_ text: some Collection<UInt8>) throws(CacheError) -> Int64 {
        guard let value = Int64(decimal: String(decoding: Array(text), as: UTF8.self), in: 0...Int64.max) else {
            throw malformed
        }
        return value
    }

    private static func tooMany(_ count: Int64) -> CacheError {
        CacheError(
            .limitExceeded, "the map of a sparse file has \(count) pieces: expected at most \(maximumCount)")
    }
    /// As many as fit an extended header of the greatest length.
    private static let maximumCount: Int64 = 128 << 10

    // MARK: PAX 0.0, 0.1 and 1.0

    /// The pairs of PAX 0.0, the only records whose key occurs more than once.
    struct Numbers {
        private var numbers: [[UInt8]] = []

        /// Takes a record if it is one of a pair.
        mutating func take(_ key: [UInt8], _ value: [UInt8]) throws(CacheError) -> Bool {
            guard key == Numbers.offset || key == Numbers.length else { return false }
            guard key == (numbers.count % 2 == 0 ? Numbers.offset : Numbers.length), !value.contains(0x2C) else {
                throw SparseMap.malformed
            }
            numbers.append(value)
            return true
        }

        /// The pairs in the form of PAX 0.1.
        var map: [UInt8]? { numbers.isEmpty ? nil : Array(numbers.joined(separator: [0x2C])) }

        private static let offset = SparseMap.key("offset")
        private static let length = SparseMap.key("numbytes")
    }

    /// Makes a sparse file of an entry whose PAX records say so.
    ///
    /// Other versions than those that Go knows are passed over, as Go does.
    static func apply(_ records: [[UInt8]: [UInt8]], to entry: inout TarEntry) throws(CacheError) {
        func text(_ name: StaticString) -> [UInt8] { records[key(name)] ?? [] }
        let (major, minor) = (text("major"), text("minor"))
        let isInData: Bool
        switch (String(decoding: major, as: UTF8.self), String(decoding: minor, as: UTF8.self)) {
        case ("0", "0"), ("0", "1"): isInData = false
        case ("1", "0"): isInData = true
        default:
            guard major.isEmpty, minor.isEmpty, !text("map").isEmpty else { return }
            isInData = false
        }
        guard entry.kind == .file else { throw malformed }
        if !text("name").isEmpty { entry.name = text("name") }
        guard !entry.name.contains(0), entry.name.count <= ContentLimit.nameBytes else { throw malformed }
        let size = text("size").isEmpty ? text("realsize") : text("size")
        let full = size.isEmpty ? entry.size : try number(size)
        guard !isInData else {
            entry.sparse = .inData(size: full)
            return
        }
        let count = try number(text("numblocks"))
        guard count <= maximumCount else { throw tooMany(count) }
        let numbers = text("map").split(separator: 0x2C, omittingEmptySubsequences: false)
        guard text("map").isEmpty ? count == 0 : Int64(numbers.count) == 2 * count else { throw malformed }
        var pieces: [Piece] = []
        for index in 0..<Int(count) {
            pieces.append(Piece(offset: try number(numbers[2 * index]), length: try number(numbers[2 * index + 1])))
        }
        entry.sparse = .map(try SparseMap(pieces, size: full, stored: entry.size))
    }

    /// Reads a map in front of the data: numbers that end in line breaks, filled up to whole blocks.
    struct DataReader {
        private var numbers: [Int64] = []
        private var digits: [UInt8] = []
        private let size: Int64
        private let stored: Int64
        private var passed: Int64 = 0

        /// - Parameters:
        ///   - size: Bytes of the file.
        ///   - stored: Bytes of the data with the map.
        init(size: Int64, stored: Int64) {
            self.size = size
            self.stored = stored
        }

        /// Takes the next block of data; returns the map when it is complete.
        mutating func take(_ block: ByteBuffer) throws(CacheError) -> SparseMap? {
            passed += Int64(block.readableBytes)
            for byte in block.readableBytesView {
                guard byte == 0x0A else {
                    guard (48...57).contains(byte), digits.count < 19 else { throw SparseMap.malformed }
                    digits.append(byte)
                    continue
                }
                numbers.append(try SparseMap.number(digits))
                digits = []
                guard numbers[0] <= SparseMap.maximumCount else { throw SparseMap.tooMany(numbers[0]) }
                // The rest of the block fills it up.
                if Int64(numbers.count) == 1 + 2 * numbers[0] { return try map() }
            }
            guard passed < stored else { throw SparseMap.malformed }
            return nil
        }

        private func map() throws(CacheError) -> SparseMap {
            var pieces: [Piece] = []
            for index in stride(from: 1, to: numbers.count - 1, by: 2) {
                pieces.append(Piece(offset: numbers[index], length: numbers[index + 1]))
            }
            return try SparseMap(pieces, size: size, stored: stored - passed)
        }
    }

    // MARK: Old GNU

    /// Reads a map in a header and the blocks behind it.
    struct Reader {
        private var pieces: [Piece] = []
        private let size: Int64
        /// Whether another block is needed.
        private(set) var isIncomplete = false

        /// - Parameter header: The header block.
        init(header: ByteBuffer, of name: [UInt8]) throws(CacheError) {
            let fields = header.withUnsafeReadableBytes { bytes -> (isGNU: Bool, size: Int64?) in
                guard bytes.count == TarBlock.size else { return (false, nil) }
                return (bytes[257..<265].elementsEqual("ustar  \0".utf8), TarBlock.number(bytes[483..<495]))
            }
            guard fields.isGNU, let size = fields.size else { throw SparseMap.malformed }
            self.size = size
            try take(header, at: 386, count: 4)
        }

        /// Takes the next block.
        mutating func take(_ block: ByteBuffer) throws(CacheError) {
            guard block.readableBytes == TarBlock.size else { throw SparseMap.malformed }
            try take(block, at: 0, count: 21)
        }

        private mutating func take(_ block: ByteBuffer, at start: Int, count: Int) throws(CacheError) {
            let found = block.withUnsafeReadableBytes { bytes -> (pieces: [Piece]?, more: Bool) in
                var pieces: [Piece] = []
                for index in 0..<count {
                    let place = start + 24 * index
                    if bytes[place] == 0 { break }
                    guard let offset = TarBlock.number(bytes[place..<place + 12]),
                        let length = TarBlock.number(bytes[place + 12..<place + 24])
                    else { return (nil, false) }
                    pieces.append(Piece(offset: offset, length: length))
                }
                return (pieces, bytes[start + 24 * count] > 0)
            }
            guard let more = found.pieces else { throw SparseMap.malformed }
            pieces += more
            isIncomplete = found.more
            guard pieces.count <= SparseMap.maximumCount else { throw SparseMap.tooMany(Int64(pieces.count)) }
        }

        /// The map of a file with this many bytes of data in the tar.
        func map(stored: Int64) throws(CacheError) -> SparseMap {
            try SparseMap(pieces, size: size, stored: stored)
        }
    }
}
