import BuildCacheCore
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
