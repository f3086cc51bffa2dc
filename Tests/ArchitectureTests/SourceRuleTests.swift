import Foundation
import Testing

/// A form of text that must not occur in the sources of some modules, because each occurrence was once a weakness.
struct SourceRule: Sendable, CustomTestStringConvertible {
    /// As in `has no …`.
    var name: String
    /// A regular expression over single lines.
    var pattern: String
    /// Modules that the rule is about.
    var modules: [String]
    /// Files that may have it, each with the reason.
    var exceptions: [String: String] = [:]

    var testDescription: String { name }

    private static let network = [
        "BuildCacheHTTP", "BuildCacheS3", "BuildCacheAzure", "BuildCacheGitHubActions", "BuildCacheRegistry",
    ]

    private static let everywhere =
        network + [
            "BuildCacheCore", "BuildCacheSpec", "BuildCacheGraph", "BuildCacheOCI", "BuildCacheBytes",
            "BuildCacheSigning",
            "BuildCacheClient", "BuildCacheKeys", "BuildCacheDockerfile", "BuildCache",
        ]

    static let all = [
        SourceRule(
            name: "no host made of text: HostLabel is the way", pattern: #""https?://[^"/?]*\\\("#,
            modules: network + ["BuildCacheSpec"],
            exceptions: [
                "Reference+Domain.swift": "a whole host, which is parsed and has nothing behind it",
                "HostDirectory.swift": "a whole URL without its scheme, from the machine's settings",
            ]),
        SourceRule(
            name: "no form but CredentialForm, whose body stays at its origin", pattern: "x-www-form-urlencoded",
            modules: network, exceptions: ["CredentialForm.swift": "it is the one"]),
        SourceRule(
            name: "no XML parser but our own", pattern: "FoundationXML|XMLParser",
            modules: network),
        SourceRule(
            name: "no TLS but from one configuration", pattern: "makeClientConfiguration", modules: network,
            exceptions: ["TLSOptions.swift": "it is the one"]),
        SourceRule(
            name: "no foreign error in a text or as a cause: shortDescription(of:) is the way",
            pattern: #"\\\(error\)|cause: error\b"#, modules: network.filter { $0 != "BuildCacheRegistry" },
            exceptions: ["GitHubRequests.swift": "the cause is a CacheError, by its type"]),
        SourceRule(
            name: "no number read from a text but with bounds: init(decimal:in:) is the way",
            pattern: #"\b(Int|Int64|UInt64)\((\$0\)|text\b|digits\b|value\[|parts\[|name\[|String\()"#,
            modules: network.filter { $0 != "BuildCacheRegistry" }),
        SourceRule(
            name: "no number read from a text but by init(decimal:in:) and those beside it",
            pattern:
                #"\b(U?Int(8|16|32|64)?|Double|Float)\((String\(|Substring\(|(text|digits)\b(?!:)|value\[|parts\[|fields\[|part\()"#
                + #"|\bU?Int(8|16|32|64)?\([^:]*, radix:|(flatMap|compactMap)(\(\{| \{) (U?Int(8|16|32|64)?|Double)\(\$0\)"#
                + #"|(flatMap|compactMap)\((U?Int(8|16|32|64)?|Double)\.init"#
                + #"|\b(strto\w+|ato[ifl]|sscanf|NumberFormatter|JSONDecoder|JSONSerialization)\("#,
            modules: everywhere,
            exceptions: ["RunnerToken.swift": "a time of JSON with a fraction or an exponent, of less than 10¹²"]),
        SourceRule(
            name: "no digits added up but in the parsers of numbers", pattern: #"\* 10 \+|ReportingOverflow\(by: 10\)"#,
            modules: everywhere,
            exceptions: [
                "Timestamp.swift": "two or four digits, in a place that is given",
                "JSONReader.swift": "its integers, which are checked for an overflow",
            ]),
        SourceRule(
            name: "no lists but by Paginator", pattern: "NextContinuationToken|NextMarker|NextKeyMarker|actions_caches",
            modules: network,
            exceptions: [
                "S3Documents.swift": "decodes a page", "BlobPage.swift": "decodes a page, and has the list",
                "GitHubListing.swift": "decodes a page, and has the list",
            ]),
    ]
}

@Suite("A module that outside bytes reach")
struct SourceRuleTests {
    private static let sources = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "Sources")

    @Test("has", arguments: SourceRule.all)
    func rule(_ rule: SourceRule) throws {
        let pattern = try Regex(rule.pattern)
        var excused: Set<String> = []
        for module in rule.modules {
            let folder = Self.sources.appending(path: module)
            for path in try FileManager.default.subpathsOfDirectory(atPath: folder.path) where path.hasSuffix(".swift")
            {
                let file = folder.appending(path: path)
                let name = file.lastPathComponent
                let text = try String(contentsOf: file, encoding: .utf8)
                for line in text.split(whereSeparator: \.isNewline) where line.contains(pattern) {
                    if rule.exceptions[name] != nil {
                        excused.insert(name)
                    } else {
                        Issue.record("\(module)/\(name): \(line.trimmingCharacters(in: .whitespaces))")
                    }
                }
            }
        }
        // An exception that nothing needs would hide the next occurrence.
        #expect(Set(rule.exceptions.keys) == excused)
    }
}
