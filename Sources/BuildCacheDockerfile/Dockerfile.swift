public import BuildCacheCore

/// A Dockerfile, parsed.
///
/// ``build(_:images:)`` makes the operations that BuildKit's own front end makes of these instructions, byte for byte: `FROM` of
/// `scratch`, of an image and of a stage; `COPY` and `ADD` of files, with `--from`, `--chown`, `--chmod`, `--link`, `--parents`,
/// `--exclude` and `--unpack`; `RUN` in both forms, with mounts, `--network` and `--security`; `ENV`, `ARG`, `WORKDIR`, `USER`,
/// `SHELL`, `ONBUILD`; documents; and the instructions that change only the image's settings. Anything else is an error that names the
/// line, because a step that is only similar to BuildKit's would be found by others.
///
/// - Source: `Documentation/Spec/cache-keys.md` §7; BuildKit `frontend/dockerfile`.
public struct Dockerfile: Sendable {
    /// The most bytes of a Dockerfile that are read.
    public static let maximumBytes = 4 << 20

    struct Stage: Sendable {
        var from: Instruction.From
        var line: Int
        var instructions: [Instruction] = []
    }

    let stages: [Stage]
    /// The `ARG` above the first stage.
    let globalArguments: [Instruction]
    let escape: Unicode.Scalar

    /// Parses a Dockerfile.
    ///
    /// - Throws: `CacheError` `.invalidSpec` with the line for what BuildKit refuses too, `.unsupported` for another front end;
    ///   `.limitExceeded` beyond ``maximumBytes``, 4 MiB.
    public init(_ bytes: some Collection<UInt8>) throws(CacheError) {
        guard bytes.count <= Dockerfile.maximumBytes else {
            throw CacheError(
                .limitExceeded,
                "the Dockerfile has \(bytes.count) bytes: expected at most \(Dockerfile.maximumBytes)")
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw CacheError(.invalidSpec, "the Dockerfile is not UTF-8")
        }
        let lines = try DockerfileLines(Text(text))
        escape = lines.escape
        var stages: [Stage] = []
        var globals: [Instruction] = []
        for line in lines.lines {
            let instruction = try Instruction(line, escape: lines.escape)
            switch instruction.kind {
            case .from(let from): stages.append(Stage(from: from, line: instruction.line))
            case .argument where stages.isEmpty: globals.append(instruction)
            default:
                guard !stages.isEmpty else {
                    throw CacheError.line(instruction.line, "the first instruction must be FROM or ARG")
                }
                stages[stages.count - 1].instructions.append(instruction)
            }
        }
        guard !stages.isEmpty else { throw CacheError(.invalidSpec, "the Dockerfile has no stage: expected FROM") }
        self.stages = stages
        globalArguments = globals
    }

    /// The names of the stages, `nil` for those without one.
    public var stageNames: [String?] { stages.map { $0.from.name?.string } }

    /// The operations of a build.
    ///
    /// - Parameters:
    ///   - options: The options of the build.
    ///   - images: The images that stages begin with or copy from. Default none.
    /// - Throws: `CacheError` `.invalidSpec` and `.unsupported` with the line; the errors of `images`.
    public func build(
        _ options: DockerfileOptions = DockerfileOptions(), images: some DockerfileImages = NoImages()
    ) async throws -> DockerfileBuild {
        var converter = try DockerfileConverter(self, options)
        return try await converter.convert(images: images)
    }
}
