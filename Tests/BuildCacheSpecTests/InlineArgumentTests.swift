import BuildCacheCore
import BuildCacheSpec
import Testing

@Suite("The build argument BUILDKIT_INLINE_CACHE")
struct InlineArgumentTests {
    @Test(
        "stands for an inline cache where it is true to Go",
        arguments: [
            ("1", true), ("t", true), ("T", true), ("TRUE", true), ("true", true), ("True", true), ("0", false),
            ("f", false), ("false", false), ("", false), ("yes", false), ("tRUE", false), (" 1", false), ("2", false),
        ])
    func values(_ value: String, _ isInline: Bool) {
        let expected = isInline ? CacheSpec(exportingTo: .inline) : nil
        #expect(CacheSpec.inline(buildArguments: ["BUILDKIT_INLINE_CACHE": value]) == expected)
        #expect(
            CacheSpec.inline(buildArguments: ["A=1", "BUILDKIT_INLINE_CACHE=\(value)"], environment: .empty) == expected
        )
    }

    @Test("counts in its last place, and without a value has that of the environment")
    func lines() {
        let environment = Environment(["BUILDKIT_INLINE_CACHE": "1"])
        func isInline(_ arguments: String..., environment: Environment = .empty) -> Bool {
            CacheSpec.inline(buildArguments: arguments, environment: environment) != nil
        }
        #expect(!isInline("BUILDKIT_INLINE_CACHE=1", "BUILDKIT_INLINE_CACHE=0"))
        #expect(isInline("BUILDKIT_INLINE_CACHE=0", "BUILDKIT_INLINE_CACHE=1"))
        #expect(isInline("BUILDKIT_INLINE_CACHE", environment: environment))
        #expect(!isInline("BUILDKIT_INLINE_CACHE"))
        #expect(isInline("BUILDKIT_INLINE_CACHE=1", "BUILDKIT_INLINE_CACHE"))
        #expect(!isInline("BUILDKIT_INLINE_CACHE=1=1", "", "=1", "buildkit_inline_cache=1", environment: environment))
    }
}
