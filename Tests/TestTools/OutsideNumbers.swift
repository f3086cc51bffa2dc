/// Texts that a number from outside may be: of a header, a document, a query, a tar or the environment.
///
/// Every number that the library reads from outside is fed with these, and is within its bounds then, counts as absent or is a typed
/// error. The tables are:
///
/// - `BuildCacheCoreTests/OutsideNumberTests`: the parsers themselves, and the parts of a time;
/// - `BuildCacheCoreTests/OutsideIntegerTests`: integers of JSON, with bounds and without;
/// - `BuildCacheHTTPTests/XMLNumberTests`: references to characters;
/// - `BuildCacheSpecTests/OutsideNumberTests`: numbers and durations of specs, as text and as JSON, and ports of URLs;
/// - `BuildCacheGraphTests/OutsideNumberTests`: rows, places and sizes of a cache config;
/// - `BuildCacheOCITests/OutsideNumberTests`: sizes and versions of manifests, indexes and image configs;
/// - `BuildCacheBytesTests/OutsideNumberTests`: tar headers, PAX records, footers and tables of contents of eStargz, sizes of gzip and zstd;
/// - `BuildCacheHTTPTests/OutsideNumberTests`: lengths, ranges, pauses and dates of headers, ports and networks of proxies;
/// - `BuildCacheRegistryTests`: `HeaderNumberTests`, `PresenceTests`, `UploadTests` and `HostileTokenServerTests`;
/// - `BuildCacheS3Tests/HostileServiceTests`: sizes of lists and objects, `AWS_MAX_ATTEMPTS`;
/// - `BuildCacheAzureTests`: `HostileAccountTests` and `TokenServerTests`;
/// - `BuildCacheGitHubActionsTests/HostileCacheServiceTests`: lists, entries and tokens;
/// - `LocalCacheTests/LockTableTests`: the system's table of locks.
///
/// `SourceRuleTests` see to it that no source reads a number by other means than `init(decimal:in:)` and those beside it.
package enum OutsideNumbers {
    /// 0, 1, −1, 2³¹, 2³², 2⁵⁰ (the largest size of a blob) and one more, 2⁵³, 2⁶³−1, 2⁶³, 2⁶⁴, and what is not a number.
    package static let texts = [
        "0", "1", "-1", "2147483648", "4294967296", "1125899906842624", "1125899906842625", "9007199254740992",
        "9223372036854775807", "9223372036854775808", "18446744073709551616", "", " 1", "1e3", "NaN",
    ]

    /// Those, and what other parsers take for a number.
    package static let strange = texts + ["+1", "1.5", "0x10", "٣"]

    /// Those and what else JSON can have in place of a number; not all of it is JSON.
    package static let json =
        strange + strange.map { "\"\($0)\"" } + [
            "-9223372036854775808", "-9223372036854775809", "null", "[]", "{}", "01", "-",
        ]
}
