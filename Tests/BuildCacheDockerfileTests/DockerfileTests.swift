import BuildCacheCore
import BuildCacheKeys
import Testing

@testable import BuildCacheDockerfile

@Suite("A line of a Dockerfile")
struct DockerfileErrorTests {
    @Test(
        "that BuildKit refuses, too, is an error that names it",
        arguments: [
            ("FROM scratch\nFLY a\n", 2), ("FROM scratch\n\n# c\nCOPY a\n", 4), ("RUN a\n", 1),
            ("FROM scratch\nCOPY --chwon=1 a b\n", 2), ("FROM scratch\nCOPY --from=3 a b\n", 2),
            ("FROM scratch\nENV A\n", 2), ("FROM scratch\nENV A=1 B\n", 2), ("FROM scratch\nENV A='x\n", 2),
            ("FROM scratch\nENV A=${B\n", 2), ("FROM scratch\nENV A=${B:?needed}\n", 2),
            ("FROM scratch\nRUN --mount=type=pipe,target=/a x\n", 2),
            ("FROM scratch\nRUN --mount=source=a x\n", 2), ("FROM scratch\nRUN --network=some x\n", 2),
            ("FROM scratch\nRUN a \\\n  b\nSHELL sh\n", 4), ("FROM scratch\nCOPY <<EOT /a\nx\n", 2),
            ("FROM scratch AS a\nCOPY --from=b a b\nFROM scratch AS b\n", 2),
            ("FROM scratch\nONBUILD FROM scratch\n", 2), ("FROM A B C D\n", 1), ("FROM scratch AS 1a\n", 1),
            ("FROM scratch\nCOPY --chmod=9 a b\n", 2), ("# escape=x\nFROM scratch\n", 1),
            ("FROM scratch\nRUN [1]\n", 2), ("FROM --platform=x scratch\n", 1),
        ])
    func invalid(_ text: String, _ line: Int) async {
        let error = await #expect(throws: CacheError.self) {
            var options = DockerfileOptions()
            // The first stage, which uses a later one.
            if text.hasPrefix("FROM scratch AS a") { options.target = "a" }
            return try await Dockerfile(text.utf8).build(options)
        }
        #expect(error?.code == .invalidSpec)
        #expect(error?.message.hasPrefix("Dockerfile line \(line): ") == true, "\(error?.message ?? "")")
    }

    @Test(
        "that is not converted is an error that names it",
        arguments: [
            ("FROM scratch\nADD https://a.example/b /b\n", 2), ("FROM scratch\nADD git@a.example:b /b\n", 2),
            ("FROM scratch\nADD --checksum=sha256:0 a /b\n", 2), ("FROM scratch\nRUN --device=a x\n", 2),
            ("# syntax=example/other:1\nFROM scratch\n", 1), ("FROM scratch\nENV A=${B/c/d}\n", 2),
            ("FROM scratch\nCOPY --exclude=$A a b\n", 2), ("FROM scratch\nCOPY --chown=é a b\n", 2),
            ("FROM scratch\nONBUILD COPY <<A /b\n", 2),
        ])
    func unsupported(_ text: String, _ line: Int) async {
        let error = await #expect(throws: CacheError.self) { try await Dockerfile(text.utf8).build() }
        #expect(error?.code == .unsupported)
        #expect(error?.message.hasPrefix("Dockerfile line \(line): ") == true, "\(error?.message ?? "")")
    }

    @Test("that is not converted does not matter in a stage that is not needed")
    func unneeded() async throws {
        let text = "FROM scratch AS a\nADD https://a.example/b /b\nRUN --device=a x\nFROM scratch\nCOPY c /\n"
        let build = try await Dockerfile(text.utf8).build()
        #expect(build.definition.vertices.count == 2)
    }

    @Test("cannot make a text grow without end")
    func growth() async {
        let text = "FROM scratch\nENV A=aaaaaaaaaa\n" + String(repeating: "ENV A=$A$A$A$A\n", count: 40)
        let error = await #expect(throws: CacheError.self) { try await Dockerfile(text.utf8).build() }
        #expect(error?.code == .limitExceeded)
    }

    @Test("cannot nest substitutions without end")
    func depth() async {
        let text = "FROM scratch\nENV A=" + String(repeating: "${B:-", count: 10_000) + "\n"
        let error = await #expect(throws: CacheError.self) { try await Dockerfile(text.utf8).build() }
        #expect(error?.code == .limitExceeded)
    }
}

@Suite("A build of a Dockerfile")
struct DockerfileBuildTests {
    @Test("has only the operations that its target needs")
    func target() async throws {
        let dockerfile = try Dockerfile("FROM scratch AS a\nCOPY x /\nFROM scratch AS b\nCOPY y /\nFROM a\n".utf8)
        #expect(dockerfile.stageNames == ["a", "b", nil])
        var options = DockerfileOptions()
        options.target = "B"
        let build = try await dockerfile.build(options)
        #expect(Self.steps(build) == ["4 b COPY y /"])
        options.target = "c"
        await #expect(throws: CacheError.self) { try await dockerfile.build(options) }
        #expect(Self.steps(try await dockerfile.build()) == ["2 a COPY x /"])
    }

    private static func steps(_ build: DockerfileBuild) -> [String] {
        build.definition.vertices.flatMap { build.steps(of: $0.digest) }.map { "\($0.line) \($0.stage) \($0.text)" }
    }

    @Test("keeps the settings of the image")
    func settings() async throws {
        let text = """
            FROM scratch
            ENV A=1 B=2
            ENV A=3
            LABEL k="v w" l=$A
            EXPOSE 80/tcp 443
            VOLUME /v
            WORKDIR /w
            USER bob:staff
            STOPSIGNAL 9
            CMD a b
            ENTRYPOINT ["e", "f"]
            CMD ["c"]
            """
        let settings = try await Dockerfile(text.utf8).build().settings
        #expect(settings.environment.suffix(2) == ["A=3", "B=2"])
        #expect(settings.labels.map { "\($0.name)=\($0.value)" } == ["k=v w", "l=3"])
        #expect(settings.ports == ["80/tcp", "443"])
        #expect(settings.volumes == ["/v"])
        #expect(settings.workingDirectory == "/w")
        #expect(settings.user == "bob:staff")
        #expect(settings.stopSignal == "9")
        #expect(settings.entrypoint == ["e", "f"])
        #expect(settings.command == ["c"])
    }

    @Test("hands proxies to processes without changing a key")
    func proxies() async throws {
        let dockerfile = try Dockerfile("FROM scratch\nRUN a\n".utf8)
        var options = DockerfileOptions()
        let plain = try await dockerfile.build(options)
        options.buildArguments = ["HTTP_PROXY": "http://p.example", "unused": "x"]
        let proxied = try await dockerfile.build(options)
        let (first, second) = (plain.definition.vertices[0], proxied.definition.vertices[0])
        #expect(first.digest != second.digest)
        #expect(try OperationKeys(of: first.op).digest == OperationKeys(of: second.op).digest)
    }

    @Test("dates new directories by SOURCE_DATE_EPOCH")
    func epoch() async throws {
        var options = DockerfileOptions()
        options.buildArguments = ["SOURCE_DATE_EPOCH": "1700000000"]
        let build = try await Dockerfile("FROM scratch\nWORKDIR /w\n".utf8).build(options)
        guard case .file(let file) = build.definition.vertices.last?.op.kind,
            case .makeDirectory(let directory) = file.actions.first?.change
        else {
            Issue.record("no directory is made")
            return
        }
        #expect(directory.timestamp == 1_700_000_000_000_000_000)
    }

    @Test(
        "expands variables as BuildKit does",
        arguments: [
            ("$A", "a/b/c.d"), ("${A}x", "a/b/c.dx"), ("$A-x", "a/b/c.d-x"), ("${A:-n}", "a/b/c.d"),
            ("${N:-n$A}", "na/b/c.d"),
            ("${E-n}", ""), ("${E:-n}", "n"), ("${A:+y}", "y"), ("${N+y}", ""), ("'$A'", "$A"), ("\\$A", "$A"),
            ("\"\\$A \\x\"", "$A \\x"), ("a\\ b", "a b"), ("$N", ""), ("$", "$"), ("${A#*/}", "b/c.d"),
            ("${A##*/}", "c.d"), ("${A%/*}", "a/b"), ("${A%%/*}", "a"), ("${A#x}", "a/b/c.d"), ("${A%.?}", "a/b/c"),
            ("${A#a\\/}", "b/c.d"), ("${N#a}", ""), ("${A%%*}", ""), ("${A#}", "a/b/c.d"),
        ])
    func expansion(_ word: String, _ expected: String) throws {
        let variables = ["A": "a/b/c.d", "E": ""]
        let text = try ShellLexer().expand(Text(word)) { name in variables[name.string].map { Text($0) } }
        #expect(text.string == expected)
    }

    @Test("takes names that only look the same for two")
    func exactNames() async throws {
        let text = "FROM scratch\nENV \u{E9}=1\nENV e\u{301}=2\nRUN $x\n"
        let build = try await Dockerfile(text.utf8).build()
        guard case .exec(let exec) = build.definition.vertices.last?.op.kind else {
            Issue.record("nothing runs")
            return
        }
        #expect(exec.meta?.environment.count == 3)
    }
}
