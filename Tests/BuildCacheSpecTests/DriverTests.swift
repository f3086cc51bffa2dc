import BuildCacheCore
import BuildCacheSpec
import Testing

/// `Documentation/Spec/spec-syntax.md` §6, cell by cell, and one of them as a real Docker has it: what is exported to and imported from inline, registry, local, gha, s3, azblob.
@Suite("A driver")
struct DriverTests {
    /// `y` for yes, `-` for no.
    private static let exportRows: [(Driver, String)] = [
        (.docker, "y-----"), (.dockerContainerd, "yyyy--"), (.dockerContainer, "yyyyyy"), (.kubernetes, "yyyyyy"),
        (.remote, "yyyyyy"),
    ]
    private static let importRows: [(Driver, String)] = [
        (.docker, "-yy---"), (.dockerContainerd, "-yyy--"), (.dockerContainer, "-yyyyy"), (.kubernetes, "-yyyyy"),
        (.remote, "-yyyyy"),
    ]

    private func row(_ driver: Driver, _ direction: CacheSpec.Direction) -> String {
        String(
            CacheSpec.BackendType.allCases.map { type in
                switch driver.supports(type, direction) {
                case .yes: "y"
                case .no: "-"
                }
            })
    }

    @Test("exports to these backends", arguments: exportRows)
    func exports(_ driver: Driver, _ expected: String) {
        #expect(row(driver, .export) == expected)
    }

    @Test("imports from these backends", arguments: importRows)
    func imports(_ driver: Driver, _ expected: String) {
        #expect(row(driver, .import) == expected)
    }

    @Test("that cannot do something says so before work starts, and what to do")
    func remedy() throws {
        let registry = try one("app")
        let error = #expect(throws: CacheError.self) { try Driver.docker.check(registry) }
        #expect(error?.code == .unsupported)
        #expect(error?.context.backend == "registry")
        #expect(error?.message.contains("cache export is not supported for the docker driver") == true)
        #expect(error?.message.contains("docker-container") == true)
        #expect(error?.message.contains("containerd image store") == true)
        #expect(error?.message.contains("https://docs.docker.com") == true)
        try Driver.dockerContainerd.check(registry)
        try Driver.docker.check(one("app", .import))
    }

    @Test("is not said to get along with the containerd image store where it does not")
    func honestRemedy() throws {
        let s3 = try one("type=s3,bucket=b,region=r")
        let error = #expect(throws: CacheError.self) { try Driver.docker.check(s3) }
        #expect(error?.message.contains("turn on") == false)
        #expect(throws: CacheError.self) { try Driver.dockerContainerd.check(s3) }
    }
}
