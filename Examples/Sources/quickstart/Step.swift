import BuildCacheClient
import ExampleSupport
import Foundation

/// A step of the example's build: what it reads, and the files it makes of that.
struct Step: Sendable {
    var name: String
    /// What the step does, as text: its digest stands for the operation, so it must change with it.
    var operation: String
    /// Files of the checkout that are copied in.
    var files: [TarFile] = []
    /// Earlier steps whose files are read.
    ///
    /// The first one's layers are below this step's unless it starts from nothing.
    var inputs: [String] = []
    var startsFromNothing = false
    var make: @Sendable (_ read: [TarFile]) -> [TarFile]

    /// Four steps in three stages over real files of the checkout: `final` needs only what `report` and `documents` made.
    static func all(changed: String?) throws -> [Step] {
        [
            Step(
                name: "sources", operation: "COPY Sources/BuildCacheCore /src",
                files: try checkout("Sources/BuildCacheCore", changed)
            ) { $0 },
            Step(name: "report", operation: "RUN wc -l /src > /report", inputs: ["sources"]) { read in
                let lines = read.map { file in "\(file.bytes.count { $0 == UInt8(ascii: "\n") }) \(file.path)\n" }
                return [TarFile(path: "report", bytes: Array(lines.joined().utf8))]
            },
            Step(name: "documents", operation: "COPY *.md /", files: try checkout("", changed)) { $0 },
            Step(
                name: "final", operation: "COPY --from=report /report / COPY --from=documents / /",
                inputs: ["report", "documents"],
                startsFromNothing: true
            ) { $0 },
        ]
    }

    /// The Swift files of a folder of the checkout, or the documents at its top; `changed` has a line more than on disk.
    private static func checkout(_ folder: String, _ changed: String?) throws -> [TarFile] {
        var top = URL(fileURLWithPath: #filePath)
        for _ in 0..<4 { top.deleteLastPathComponent() }
        let directory = folder.isEmpty ? top : top.appending(path: folder)
        let suffix = folder.isEmpty ? ".md" : ".swift"
        return try FileManager.default.contentsOfDirectory(atPath: directory.path).filter { $0.hasSuffix(suffix) }
            .sorted().map { name in
                let bytes = Array(try Data(contentsOf: directory.appending(path: name)))
                return TarFile(path: name, bytes: name == changed ? bytes + Array("changed\n".utf8) : bytes)
            }
    }
}
