extension FixedWidthInteger {
    /// The number that `text` writes in decimal digits, if it lies in `range`; `nil` for any other text.
    ///
    /// For numbers that a header, a document, a query, a token or a variable brings along. Unlike `Int64.init(_:)` it takes no sign, and
    /// unlike a bare comparison it cannot be forgotten: what it returns is small enough to calculate with.
    package init?(decimal text: some StringProtocol, in range: ClosedRange<Self>) {
        var value: Self = 0
        var isEmpty = true
        for byte in text.utf8 {
            guard (48...57).contains(byte), let digit = Self(exactly: byte - 48) else { return nil }
            let (tenfold, overflow) = value.multipliedReportingOverflow(by: 10)
            let (next, overflowAgain) = tenfold.addingReportingOverflow(digit)
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
