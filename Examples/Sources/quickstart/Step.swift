import BuildCacheClient
import Foundation

/// A step of the example's build: what it reads, and how it fills a directory.
struct Step: Sendable {
    let name: String
    /// A text that changes whenever the step would do something else.
    let operation: String
    /// A directory of the context that is copied in.
    var copies: String?
    /// Earlier steps whose directories are read.
    var inputs: [String] = []
    /// Whether the step adds files to those of its first input: its layer is then the difference.
    var extendsFirstInput = false
    /// Fills the empty directory `out`.
    let run: @Sendable (_ read: [URL], _ out: URL) throws -> Void

    /// Four steps in three stages: `final` needs only what `report` and `documents` made.
    static let all = [
        Step(name: "sources", operation: "COPY src /", copies: "src") { read, out in
            try copyFiles(of: read[0], to: out)
        },
        Step(name: "report", operation: "RUN wc -l * > report", inputs: ["sources"], extendsFirstInput: true) {
            read, out in
            let lines = try files(in: read[0]).map { file in
                "\(try Data(contentsOf: file).count { $0 == UInt8(ascii: "\n") }) \(file.lastPathComponent)\n"
            }
            try copyFiles(of: read[0], to: out)
            try lines.joined().write(to: out.appending(path: "report"), atomically: true, encoding: .utf8)
        },
        Step(name: "documents", operation: "COPY doc /", copies: "doc") { read, out in
            try copyFiles(of: read[0], to: out)
        },
        Step(
            name: "final", operation: "COPY --from=report report / COPY --from=documents / /",
            inputs: ["report", "documents"]
        ) { read, out in
            try FileManager.default.copyItem(at: read[0].appending(path: "report"), to: out.appending(path: "report"))
            try copyFiles(of: read[1], to: out)
        },
    ]
}

/// The files of a directory, by name.
func files(in directory: URL) throws -> [URL] {
    try FileManager.default.contentsOfDirectory(at: directory, includingPropertiesForKeys: nil)
        .filter { !$0.hasDirectoryPath }.sorted { $0.lastPathComponent < $1.lastPathComponent }
}

/// Copies the files of a directory.
func copyFiles(of directory: URL, to other: URL) throws {
    for file in try files(in: directory) {
        try FileManager.default.copyItem(at: file, to: other.appending(path: file.lastPathComponent))
    }
}
