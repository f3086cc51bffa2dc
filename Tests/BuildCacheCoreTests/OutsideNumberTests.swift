import BuildCacheCore
import TestTools
import Testing

@Suite("A number from outside")
struct OutsideNumberTests {
    @Test(
        "is decimal digits within bounds, and nothing else",
        arguments: [
            ("0", Int64?.some(0)), ("1", 1), ("007", 7), ("2147483648", 1 << 31), ("4294967296", 1 << 32),
            ("9007199254740992", 1 << 53), ("1125899906842624", 1 << 50), ("9223372036854775807", .max),
            ("9223372036854775808", nil), ("18446744073709551616", nil), ("-1", nil), ("+1", nil), ("", nil),
            (" 1", nil),
            ("1 ", nil), ("1e3", nil), ("1.0", nil), ("0x1", nil), ("NaN", nil), ("１", nil), ("1\u{301}", nil),
        ])
    func decimal(_ text: String, _ number: Int64?) {
        #expect(Int64(decimal: text, in: 0...Int64.max) == number)
        #expect(Int64(decimal: text, in: 0...Descriptor.maximumSize) == number.flatMap { $0 <= 1 << 50 ? $0 : nil })
        #expect(UInt8(decimal: text, in: 0...255) == number.flatMap { UInt8(exactly: $0) })
        #expect(Int64(decimal: text, in: 5...7) == (number == 7 ? 7 : nil))
    }

    @Test("has a sign only where it may have one, and digits of its base", arguments: OutsideNumbers.strange)
    func signs(_ text: String) {
        let whole = Int64(text)
        #expect(Int64(signedDecimal: text, in: Int64.min...Int64.max) == whole)
        #expect(Int64(signedDecimal: text, in: -1...1) == whole.flatMap { (-1...1).contains($0) ? $0 : nil })
        let isSigned = text.hasPrefix("+") || text.hasPrefix("-")
        for radix in [8, 10, 16, 36] {
            let value = Int64(digits: text, radix: UInt8(radix), in: 0...Int64.max)
            #expect(value == (isSigned ? nil : Int64(text, radix: radix)), "\(radix)")
        }
        #expect(UInt8(digits: text, radix: 16, in: 0...255) == (isSigned ? nil : UInt8(text, radix: 16)))
    }

    @Test("is read to both ends of 64 bits, and not behind them")
    func ends() {
        #expect(Int64(signedDecimal: "-9223372036854775808", in: Int64.min...0) == .min)
        #expect(Int64(signedDecimal: "-9223372036854775809", in: Int64.min...0) == nil)
        #expect(UInt64(decimal: "18446744073709551615", in: 0...UInt64.max) == .max)
        #expect(Int64(digits: "7fffffffffffffff", radix: 16, in: 0...Int64.max) == .max)
        #expect(Int64(digits: "8000000000000000", radix: 16, in: 0...Int64.max) == nil)
        #expect(Int64(digits: "zZ", radix: 36, in: 0...Int64.max) == 1295)
    }

    @Test(
        "in a time is that of a calendar, or the time is refused",
        arguments: OutsideNumbers.strange,
        [
            "%-01-01T00:00:00Z", "2026-%-01T00:00:00Z", "2026-01-%T00:00:00Z", "2026-01-01T%:00:00Z",
            "2026-01-01T00:%:00Z", "2026-01-01T00:00:%Z", "2026-01-01T00:00:00.%Z", "2026-01-01T00:00:00+%:00",
            "2026-01-01T00:00:00-00:%",
        ])
    func times(_ text: String, _ form: String) {
        guard let time = try? Timestamp(form.replacing("%", with: text)) else { return }
        #expect((-62_167_305_600...253_402_387_200).contains(time.seconds))
        #expect((0..<1_000_000_000).contains(time.nanoseconds))
    }

    @Test("is added and divided without an overflow, whatever it is")
    func arithmetic() {
        #expect(Int64.max.addingClamped(1) == .max)
        #expect(Int64.min.addingClamped(-1) == .min)
        #expect(Int64(2).addingClamped(3) == 5)
        #expect(Int64.max.dividedRoundingUp(by: 10_000) == Int64.max / 10_000 + 1)
        #expect(Int64.max.dividedRoundingUp(by: 1) == .max)
        #expect((0...6).map { Int64($0).dividedRoundingUp(by: 3) } == [0, 1, 1, 1, 2, 2, 2])
        #expect(Int64(5).dividedRoundingUp(by: 0) == 5)
    }
}
