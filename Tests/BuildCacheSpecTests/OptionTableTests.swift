import BuildCacheCore
import Foundation
import Testing

@testable import BuildCacheSpec

/// A table of options in an article of the documentation: a row for each key, with the cells of its other columns.
struct DocumentedOptions: Sendable, CustomTestStringConvertible {
    let testDescription: String
    /// Key to column to cell, and the columns.
    private(set) var rows: [String: [String: String]] = [:]

    /// Reads the tables of `article` whose first column is `Key`.
    ///
    /// A row of several keys has a default for each, or one cell for all.
    init(_ article: String) throws {
        testDescription = article
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appending(path: "../../Sources/BuildCache/BuildCache.docc").standardizedFileURL
        let text = try String(contentsOf: folder.appending(path: article + ".md"), encoding: .utf8)
        var columns: [String] = []
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            guard line.hasPrefix("|") else {
                columns = []
                continue
            }
            let cells = line.dropFirst().dropLast().split(separator: "|", omittingEmptySubsequences: false)
                .map { $0.trimmingCharacters(in: .whitespaces) }
            if columns.isEmpty { columns = cells }
            guard columns.first == "Key", let first = cells.first, first.hasPrefix("`") else { continue }
            let keys = first.split(separator: ",").map { $0.trimmingCharacters(in: .init(charactersIn: " `")) }
            for (index, key) in keys.enumerated() {
                var row = Dictionary(zip(columns, cells)) { first, _ in first }
                let defaults = row["Default", default: ""].split(separator: ",")
                if keys.count > 1, defaults.count == keys.count {
                    row["Default"] = defaults[index].trimmingCharacters(in: .whitespaces)
                }
                rows[key] = row
            }
        }
    }

    /// The text in backquotes of a cell.
    static func code(in cell: String) -> [String] {
        cell.split(separator: "`", omittingEmptySubsequences: false).enumerated()
            .filter { $0.offset % 2 == 1 }.map { String($0.element) }
    }
}

@Suite("The table of options")
struct OptionTableTests {
    /// A spec of each type with nothing but what is required, and the article about it.
    private static let articles: [(CacheSpec.Backend, String)] = [
        (.inline, "InlineBackend"), (.local(LocalOptions(dest: "d")), "LocalBackend"),
        (.gha(GitHubActionsOptions(token: Secret("t"))), "GitHubActionsBackend"),
        (.s3(S3Options(bucket: "b", region: "")), "S3Backend"),
    ]

    private static func backends() throws -> [(backend: CacheSpec.Backend, article: String)] {
        articles + [
            (.registry(RegistryOptions(ref: try Reference("app"))), "RegistryBackend"),
            (.azblob(AzureBlobOptions(accountURL: try ServiceURL("https://acct.example"))), "AzureBackend"),
        ]
    }

    /// The texts of the defaults; required options and those without a default have none.
    private func defaults<Options: OptionTable>(of options: Options) -> [String: String] {
        let pairs = Options.table.filter { !$0.key.isRequired }.compactMap { option in
            option.text(options.defaults).map { (option.key.name, $0) }
        }
        return Dictionary(pairs) { first, _ in first }
    }

    @Test("has the rows of the documentation's table")
    func keys() throws {
        for (backend, article) in try Self.backends() {
            let documented = Set(try DocumentedOptions(article).rows.keys)
            #expect(documented == Set(OptionKey.all(of: backend.type).map(\.name)), "\(article)")
        }
        let common = Set(try DocumentedOptions("ChoosingABackend").rows.keys)
        #expect(common == Set(ExportOptions.keys.map(\.name)))
    }

    @Test("has the directions of the documentation's table")
    func directions() throws {
        for (backend, article) in try Self.backends() where backend.type != .inline {
            let rows = try DocumentedOptions(article).rows
            for key in OptionKey.all(of: backend.type) {
                let word = key.directions.count == 2 ? "both" : key.directions == [.export] ? "export" : "import"
                #expect(rows[key.name]?["For"] == word, "\(article): \(key.name)")
            }
        }
    }

    @Test("has the defaults of the documentation's table")
    func defaults() throws {
        // The host decides, and the profile may have one.
        let derived: Set = ["account_name", "region"]
        for (backend, article) in try Self.backends() + [(.inline, "ChoosingABackend")] {
            let rows = try DocumentedOptions(article).rows
            let options: [any OptionTable] = [ExportOptions()] + (backend.options.map { [$0] } ?? [])
            let expected = options.map { defaults(of: $0) }.reduce([:]) { $0.merging($1) { first, _ in first } }
            let required = Set(OptionKey.all(of: backend.type).filter(\.isRequired).map(\.name))
            for (key, row) in rows where !derived.contains(key) {
                let cell = try #require(row["Default"])
                if required.contains(key) {
                    #expect(cell == "required", "\(article): \(key)")
                } else if let text = expected[key] {
                    let first = DocumentedOptions.code(in: cell).first
                    #expect(text.isEmpty ? cell == "empty" : first == text, "\(article): \(key)")
                } else {
                    #expect(!cell.hasPrefix("`"), "\(article): \(key) has no default")
                }
            }
        }
    }

    @Test("has the environment variables of the documentation's table, in the same order")
    func variables() throws {
        for (backend, article) in try Self.backends() {
            let rows = try DocumentedOptions(article).rows
            for key in OptionKey.all(of: backend.type) where !key.variables.isEmpty {
                let documented = DocumentedOptions.code(in: rows[key.name]?["Environment"] ?? "")
                #expect(Array(documented.prefix(key.variables.count)) == key.variables, "\(article): \(key.name)")
            }
        }
    }

    @Test("names each key once")
    func unique() {
        for type in CacheSpec.BackendType.allCases {
            let names = OptionKey.all(of: type).map(\.name)
            #expect(Set(names).count == names.count)
        }
    }
}

@Suite("The fault of a spec made in Swift")
struct ValidationFaultTests {
    private func fault(of spec: CacheSpec) -> CacheError? {
        let error = #expect(throws: CacheError.self) { try spec.validate() }
        #expect(error?.code == .invalidSpec)
        return error
    }

    private func s3(_ change: (inout S3Options) -> Void) -> CacheSpec {
        var options = S3Options(bucket: "b", region: "r")
        change(&options)
        return CacheSpec(exportingTo: .s3(options))
    }

    @Test("names the option")
    func names() throws {
        let faults = [
            ("name", s3 { $0.names = ["a;b"] }), ("name", s3 { $0.names = [] }),
            ("name", s3 { $0.names = ["a", "a"] }),
            ("touch_refresh", s3 { $0.touchRefresh = .nanoseconds(1) / 2 }),
            ("touch_refresh", s3 { $0.touchRefresh = .seconds(Int64.max) }),
            ("touch_refresh", s3 { $0.touchRefresh = .seconds(-1) }), ("bucket", s3 { $0.bucket = "" }),
            ("region", s3 { $0.region = "a\nb" }), ("upload_parallelism", s3 { $0.uploadParallelism = 0 }),
            ("access_key_id", s3 { $0.accessKeyID = "id" }), ("session_token", s3 { $0.sessionToken = Secret("t") }),
            ("secret_access_key", s3 { ($0.accessKeyID, $0.secretAccessKey) = ("id", Secret("")) }),
            ("dest", CacheSpec(exportingTo: .local(LocalOptions(src: "in")))),
            ("mode", CacheSpec(exportingTo: .inline, ExportOptions(mode: .max))),
            (
                "compression-level",
                CacheSpec(
                    exportingTo: .local(LocalOptions(dest: "out")),
                    ExportOptions(compression: CompressionOptions(level: 99)))
            ),
            ("oci-mediatypes", CacheSpec(exportingTo: .inline, ExportOptions(layout: .dockerList))),
            ("url", CacheSpec(importingFrom: .gha(GitHubActionsOptions(token: Secret("t"))))),
            (
                "version",
                CacheSpec(
                    importingFrom: .gha(
                        GitHubActionsOptions(token: Secret("t"), url: try ServiceURL("https://a.example"), version: 3)))
            ),
            (
                "account_name",
                CacheSpec(
                    importingFrom: .azblob(
                        AzureBlobOptions(accountURL: try ServiceURL("https://a.example"), accountName: "")))
            ),
        ]
        for (option, spec) in faults {
            let error = fault(of: spec)
            #expect(error?.message.contains("\"\(option)\"") == true, "\(option): \(error?.message ?? "")")
        }
    }

    @Test("says how the value would be read")
    func text() {
        let error = fault(of: s3 { $0.names = ["main", "a;b"] })
        #expect(error?.message == #""name" has no text form: "main;a;b" is read as another value"#)
        #expect(error?.context == CacheError.Context(backend: "s3", operation: "parse", subject: "cache-to"))
    }

    @Test("says nothing of a secret")
    func secret() {
        let error = fault(of: s3 { ($0.accessKeyID, $0.secretAccessKey) = ("id", Secret("hunter2\n")) })
        #expect(error?.message.contains("\"secret_access_key\"") == true)
        #expect(error?.debugDescription.contains("hunter2") == false)
    }

    @Test("is not in the parts that text does not say")
    func unwritten() throws {
        let options = ExportOptions(writePolicy: .merge, replacesOtherContent: true)
        try CacheSpec(exportingTo: .local(LocalOptions(dest: "out")), options).validate()
    }
}
