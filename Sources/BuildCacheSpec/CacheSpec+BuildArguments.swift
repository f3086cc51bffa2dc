public import BuildCacheCore

extension CacheSpec {
    /// The inline cache that the build argument `BUILDKIT_INLINE_CACHE` asks for; `nil` if it does not.
    ///
    /// BuildKit's clients take `--build-arg BUILDKIT_INLINE_CACHE=1` for `--cache-to type=inline`, so a tool that takes over command lines of
    /// `docker build` adds this to its exports, unless an inline export is among them already.
    ///
    ///     exports += CacheSpec.inline(buildArguments: ["VERSION=2", "BUILDKIT_INLINE_CACHE=1"]).map { [$0] } ?? []
    ///
    /// - Parameters:
    ///   - buildArguments: The values of `--build-arg`, each as `NAME=value`, or `NAME` for that of the environment. The last of a name counts.
    ///   - environment: The source of arguments without a value.
    /// - Returns: A spec for `1`, `t`, `T`, `TRUE`, `true` and `True`, and `nil` for any other value.
    /// - Source: docker/buildx `build/opt.go`; Go `strconv.ParseBool`.
    public static func inline(buildArguments: [String], environment: Environment = .process) -> CacheSpec? {
        var values: [String: String] = [:]
        for argument in buildArguments {
            let parts = argument.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = parts.first.map(String.init) else { continue }
            if let value = parts.count > 1 ? String(parts[1]) : environment[name] { values[name] = value }
        }
        return inline(buildArguments: values)
    }

    /// The inline cache that the build argument `BUILDKIT_INLINE_CACHE` asks for, as
    /// ``inline(buildArguments:environment:)``; `nil` if it does not.
    ///
    /// - Parameter buildArguments: Values by name.
    public static func inline(buildArguments: [String: String]) -> CacheSpec? {
        guard let text = buildArguments["BUILDKIT_INLINE_CACHE"], GoText.bool(text) == true else { return nil }
        return CacheSpec(exportingTo: .inline)
    }
}
