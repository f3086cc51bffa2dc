extension StringProtocol {
    /// Whether more than 256 combining characters stand in a row.
    ///
    /// Swift hashes and compares strings by canonical equivalence, and sorts each such row for it in time that grows with the square of its
    /// length: half a megabyte of accents takes minutes. Words have a few of them, so a reader refuses a string from outside with more
    /// before it becomes the key of a dictionary.
    ///
    /// - Source: Unicode Standard Annex #15, "Stream-Safe Text Format", which allows 30.
    package var hasLongCombiningRun: Bool {
        var length = 0
        for scalar in unicodeScalars {
            length = scalar.isCombining ? length + 1 : 0
            if length > 256 { return true }
        }
        return false
    }
}

extension Unicode.Scalar {
    /// Whether the scalar, or what it is composed of, is sorted among its neighbours when strings are compared.
    fileprivate var isCombining: Bool {
        switch value {
        case ..<0x300: false
        // Class 0, but composed of two that are not.
        case 0xF73, 0xF75, 0xF81: true
        default: properties.canonicalCombiningClass != .notReordered
        }
    }
}
