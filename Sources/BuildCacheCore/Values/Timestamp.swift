/// An instant to the nanosecond, with the zone it was written in.
///
/// Foundation's `Date` loses nanoseconds and the zone, and with them the digest of a cache config that is read and written
/// again. Years 1 to 9999, as RFC 3339 can write them. Orders by instant; two zones of one instant are not equal.
///
/// - Source: `Documentation/Spec/cache-format.md` §1.1 (Go `time.Time` as JSON).
public struct Timestamp: Hashable, Sendable {
    /// Seconds since 1970-01-01T00:00:00Z, negative before.
    public let seconds: Int64
    /// Nanoseconds into that second, 0 to 999 999 999.
    public let nanoseconds: Int32
    /// Minutes east of UTC in which it is written, -1439 to 1439.
    public let zoneMinutes: Int16

    /// Go's zero time, `0001-01-01T00:00:00Z`: written where no time is known.
    public static let zero = Timestamp(uncheckedSeconds: -62_135_596_800, nanoseconds: 0, zoneMinutes: 0)

    /// An instant in UTC, or `nil` outside the years 1 to 9999 or with nanoseconds outside one second.
    public init?(seconds: Int64, nanoseconds: Int32 = 0) {
        guard Timestamp.writableSeconds.contains(seconds), (0..<1_000_000_000).contains(nanoseconds) else {
            return nil
        }
        self.init(uncheckedSeconds: seconds, nanoseconds: nanoseconds, zoneMinutes: 0)
    }

    // From the first second of year 1 to the last of year 9999.
    private static let writableSeconds: Range<Int64> = -62_135_596_800..<253_402_300_800

    private init(uncheckedSeconds seconds: Int64, nanoseconds: Int32, zoneMinutes: Int16) {
        self.seconds = seconds
        self.nanoseconds = nanoseconds
        self.zoneMinutes = zoneMinutes
    }

    /// The same instant, written in UTC.
    public var utc: Timestamp { Timestamp(uncheckedSeconds: seconds, nanoseconds: nanoseconds, zoneMinutes: 0) }

    /// Parses RFC 3339 with up to nine digits of fraction; more digits are cut, as Go does.
    ///
    /// - Throws: ``CacheError`` `.corrupted`.
    public init(_ text: some StringProtocol) throws(CacheError) {
        var text = String(text)
        guard let parsed = text.withUTF8({ Timestamp(utf8: UnsafeRawBufferPointer($0)) }) else {
            throw CacheError(
                .corrupted, "\(text.quoted) is no time: RFC 3339 is expected, as in 2026-01-02T03:04:05.678Z")
        }
        self = parsed
    }

    /// The time written at exactly these bytes, or `nil`.
    package init?(utf8 bytes: UnsafeRawBufferPointer) {
        guard bytes.count >= 20 else { return nil }
        func number(_ start: Int, _ count: Int) -> Int? {
            var value = 0
            for byte in bytes[start..<start + count] {
                guard (48...57).contains(byte) else { return nil }
                value = value * 10 + Int(byte - 48)
            }
            return value
        }
        guard let year = number(0, 4), bytes[4] == 45, let month = number(5, 2), bytes[7] == 45, let day = number(8, 2),
            bytes[10] == UInt8(ascii: "T"), let hour = number(11, 2), bytes[13] == 58, let minute = number(14, 2),
            bytes[16] == 58, let second = number(17, 2),
            (1...9999).contains(year), (1...12).contains(month),
            (1...Timestamp.days(in: month, of: year)).contains(day),
            hour < 24, minute < 60, second < 60
        else { return nil }

        var index = 19
        var fraction: Int32 = 0
        if bytes[index] == UInt8(ascii: ".") {
            index += 1
            var scale: Int32 = 100_000_000
            let start = index
            while index < bytes.count, (48...57).contains(bytes[index]) {
                fraction += Int32(bytes[index] - 48) * scale
                scale /= 10
                index += 1
            }
            guard index > start, index < bytes.count else { return nil }
        }

        var zone = 0
        if bytes[index] == UInt8(ascii: "Z") {
            guard index == bytes.count - 1 else { return nil }
        } else {
            guard bytes[index] == 43 || bytes[index] == 45, index == bytes.count - 6, bytes[index + 3] == 58,
                let hours = number(index + 1, 2), let minutes = number(index + 4, 2), hours < 24, minutes < 60
            else { return nil }
            zone = (hours * 60 + minutes) * (bytes[index] == 45 ? -1 : 1)
        }
        let clock = Int64(hour * 3600 + minute * 60 + second - zone * 60)
        let seconds = Timestamp.daysSinceEpoch(year: year, month: month, day: day) * 86_400 + clock
        // What is in these years where it was written may not be in UTC, and then could not be written there.
        guard Timestamp.writableSeconds.contains(seconds) else { return nil }
        self.init(uncheckedSeconds: seconds, nanoseconds: fraction, zoneMinutes: Int16(zone))
    }

    /// Writes the text of ``description`` and returns its length, at most 35 bytes.
    package func write(into buffer: UnsafeMutableRawBufferPointer) -> Int {
        let local = seconds + Int64(zoneMinutes) * 60
        let clock = Int(Timestamp.modulo(local, 86_400))
        let days = (local - Int64(clock)) / 86_400
        let (year, month, day) = Timestamp.civil(fromDays: days)
        var end = 0
        func put(_ byte: UInt8) {
            buffer[end] = byte
            end += 1
        }
        func digits(_ value: Int, _ count: Int) {
            var divisor = 1
            for _ in 1..<count { divisor *= 10 }
            while divisor > 0 {
                put(48 + UInt8(value / divisor % 10))
                divisor /= 10
            }
        }
        digits(year, 4)
        put(45)
        digits(month, 2)
        put(45)
        digits(day, 2)
        put(UInt8(ascii: "T"))
        digits(clock / 3600, 2)
        put(58)
        digits(clock / 60 % 60, 2)
        put(58)
        digits(clock % 60, 2)
        if nanoseconds != 0 {
            put(UInt8(ascii: "."))
            digits(Int(nanoseconds), 9)
            while buffer[end - 1] == 48 { end -= 1 }
        }
        if zoneMinutes == 0 {
            put(UInt8(ascii: "Z"))
        } else {
            put(zoneMinutes < 0 ? 45 : 43)
            let zone = Int(zoneMinutes.magnitude)
            digits(zone / 60, 2)
            put(58)
            digits(zone % 60, 2)
        }
        return end
    }

    /// How much later this is than `earlier`, negative if it is before.
    package func elapsed(since earlier: Timestamp) -> Duration {
        .seconds(seconds - earlier.seconds) + .nanoseconds(Int64(nanoseconds - earlier.nanoseconds))
    }

    // MARK: Civil calendar (proleptic Gregorian, days counted from 1970-01-01)

    private static func modulo(_ value: Int64, _ divisor: Int64) -> Int64 {
        let rest = value % divisor
        return rest < 0 ? rest + divisor : rest
    }

    private static func days(in month: Int, of year: Int) -> Int {
        switch month {
        case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }

    // The year is counted from March, so that the leap day comes last and month lengths follow one formula.
    private static func daysSinceEpoch(year: Int, month: Int, day: Int) -> Int64 {
        let shifted = month <= 2 ? year - 1 : year
        let era = shifted / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return Int64(era * 146_097 + dayOfEra - 719_468)
    }

    private static func civil(fromDays days: Int64) -> (year: Int, month: Int, day: Int) {
        let shifted = Int(days) + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let month = (5 * dayOfYear + 2) / 153
        let year = yearOfEra + era * 400 + (month >= 10 ? 1 : 0)
        return (year, month < 10 ? month + 3 : month - 9, dayOfYear - (153 * month + 2) / 5 + 1)
    }
}

extension Timestamp: Comparable {
    /// Orders by instant; of two zones of one instant the western comes first.
    public static func < (left: Timestamp, right: Timestamp) -> Bool {
        (left.seconds, left.nanoseconds, left.zoneMinutes) < (right.seconds, right.nanoseconds, right.zoneMinutes)
    }
}

extension Timestamp: CustomStringConvertible {
    /// RFC 3339 as Go writes it: trailing zeros of the fraction cut, `Z` for UTC.
    public var description: String {
        String(unsafeUninitializedCapacity: 40) { write(into: UnsafeMutableRawBufferPointer($0)) }
    }
}
