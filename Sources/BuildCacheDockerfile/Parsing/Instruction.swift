import BuildCacheCore

/// One instruction, its words not yet expanded.
struct Instruction: Sendable {
    /// The line where it begins, counted from 1.
    var line: Int
    /// The text as it is written.
    var text: Text
    var kind: Kind

    enum Kind: Sendable {
        case from(From)
        case argument([Variable])
        case environment([Assignment])
        case label([Assignment])
        case workdir(Text)
        case user(Text)
        case shell([Text])
        case run(Run)
        case copy(Copy)
        case onBuild(Text)
        case command(Command)
        case entrypoint(Command)
        case expose([Text])
        case volume([Text])
        case stopSignal(Text)
        case healthcheck(Text)
        case maintainer
        /// One that is not converted: an error only if its stage is needed.
        case unsupported(CacheError)
    }

    struct From: Sendable {
        var base: Text
        var name: Text?
        var platform: Text?
    }

    /// Of `ARG`: a value is optional.
    struct Variable: Sendable {
        var name: Text
        var value: Text?
    }

    struct Assignment: Sendable {
        var name: Text
        var value: Text
    }

    /// A command as one text for a shell, or as words.
    struct Command: Sendable {
        var words: [Text]
        var needsShell: Bool
    }

    struct Run: Sendable {
        var command: Command
        var heredocs: [Heredoc]
        /// The texts of `--mount`.
        var mounts: [Text]
        var network: Text?
        var security: Text?
    }

    /// Of `COPY` and of `ADD`.
    struct Copy: Sendable {
        var isAdd: Bool
        /// Paths and documents, as they are written.
        var sources: [Text]
        var heredocs: [Heredoc]
        var destination: Text
        var from: Text?
        var owner: Text?
        var mode: Text?
        var isLink = false
        var keepsParents = false
        var unpacks: Bool?
        var excludes: [Text] = []
    }
}
