extension FixedWidthInteger {
    /// The number that `text` writes in decimal digits, if it lies in `range`; `nil` for any other text.
    ///
    /// For numbers that a header, a document, a query, a token or a variable brings along. Unlike `Int64.init(_:)` it takes no sign, and
    /// unlike a bare comparison it cannot be forgotten: what it returns is small enough to calculate with.
    package init?(decimal text: some StringProtocol, in range: ClosedRange<Self>) {
        self.init(digits: text, radix: 10, in: range)
    }

    /// As ``init(decimal:in:)``, perhaps behind a sign, as Go's `strconv` reads numbers.
    package init?(signedDecimal text: some StringProtocol, in range: ClosedRange<Self>) {
        guard let sign = text.utf8.first, sign == UInt8(ascii: "-") || sign == UInt8(ascii: "+") else {
            self.init(digits: text, radix: 10, in: range)
            return
        }
        self.init(digits: text.dropFirst(), radix: 10, isNegative: sign == UInt8(ascii: "-"), in: range)
    }

    /// As ``init(decimal:in:)`` with digits of another base, in capitals or not.
    ///
    /// - Parameter radix: 2 to 36.
    package init?(
        digits text: some StringProtocol, radix: UInt8, isNegative: Bool = false, in range: ClosedRange<Self>
    ) {
        var value: Self = 0
        var isEmpty = true
        guard let base = Self(exactly: radix) else { return nil }
        for byte in text.utf8 {
            let digit: UInt8
            switch byte {
            case 48...57: digit = byte - 48
            case 65...90: digit = byte - 55
            case 97...122: digit = byte - 87
            default: return nil
            }
            guard digit < radix, let digit = Self(exactly: digit) else { return nil }
            let (multiple, overflow) = value.multipliedReportingOverflow(by: base)
            let (next, overflowAgain) =
                isNegative ? multiple.subtractingReportingOverflow(digit) : multiple.addingReportingOverflow(digit)
            guard !overflow, !overflowAgain else { return nil }
            value = next
            isEmpty = false
        }
        guard !isEmpty, range.contains(value) else { return nil }
        self = value
    }

    /// The sum, or the nearest number that fits.
    package func addingClamped(_ other: Self) -> Self {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? (other > 0 ? .max : .min) : sum
    }

    /// The quotient, rounded up; `self` for a divisor below 1.
    package func dividedRoundingUp(by divisor: Self) -> Self {
        guard divisor > 0 else { return self }
        return self / divisor + (self % divisor > 0 ? 1 : 0)
    }
}
