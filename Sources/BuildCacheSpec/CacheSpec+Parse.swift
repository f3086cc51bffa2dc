public import BuildCacheCore

extension CacheSpec {
    /// The treatment of faults that BuildKit ignores.
    @nonexhaustive
    public enum Leniency: Hashable, Sendable {
        /// An option without meaning or effect is an error.
        case strict
        /// As BuildKit: unknown keys and most bad values are ignored, as are options without effect, gha outside of a workflow,
        /// and imports that cannot be configured.
        case lenient
    }

    /// The program whose command line is parsed.
    @nonexhaustive
    public enum Dialect: Hashable, Sendable {
        /// `docker buildx build`.
        case buildx
        /// `buildctl build`: a text without `type=` is one reference, whatever it holds.
        case buildctl
    }

    /// Parses the text of one `--cache-to` or `--cache-from`.
    ///
    /// `type=…,key=value` is one spec and `a,b` is two registry references. An empty text is none, and so is what
    /// lenient parsing drops.
    ///
    /// - Parameters:
    ///   - text: At most 64 KiB.
    ///   - direction: Whether it is of a `--cache-to` or a `--cache-from`.
    ///   - environment: The source of options that are not given; by default this process's variables.
    ///   - leniency: The treatment of faults that BuildKit ignores.
    ///   - dialect: The program whose command line is parsed.
    ///   - onIgnored: Called with each fault that lenient parsing ignored.
    /// - Throws: `CacheError` `.invalidSpec`, naming key, value and the nearest valid one, never a secret; `.limitExceeded`
    ///   for a longer text.
    /// - Source: `Documentation/Spec/spec-syntax.md` §1 to §4.
    public static func parse(
        _ text: String, for direction: Direction, environment: Environment = .process, leniency: Leniency = .strict,
        dialect: Dialect = .buildx, onIgnored: (CacheError) -> Void = { _ in }
    ) throws(CacheError) -> [CacheSpec] {
        var parser = Parser(direction: direction, environment: environment, leniency: leniency, dialect: dialect)
        let specs = try parser.parse(text: text)
        parser.ignored.forEach(onIgnored)
        return specs
    }

    /// Parses the JSON form: an object of strings with a `type`, or an array of such objects and of texts.
    ///
    /// Keys stay as they are written: unlike in text, `Mode` is not `mode`.
    ///
    /// - Throws: `CacheError` `.invalidSpec` and `.limitExceeded`, as
    ///   ``parse(_:for:environment:leniency:dialect:onIgnored:)``.
    public static func parse(
        json: String, for direction: Direction, environment: Environment = .process, leniency: Leniency = .strict,
        onIgnored: (CacheError) -> Void = { _ in }
    ) throws(CacheError) -> [CacheSpec] {
        var parser = Parser(direction: direction, environment: environment, leniency: leniency)
        let specs = try parser.parse(json: json)
        parser.ignored.forEach(onIgnored)
        return specs
    }

    /// Parses a text that is exactly one spec, strictly.
    ///
    /// - Throws: `CacheError` `.invalidSpec`, also for none or several.
    public init(_ text: String, for direction: Direction, environment: Environment = .process) throws(CacheError) {
        let specs = try CacheSpec.parse(text, for: direction, environment: environment)
        guard specs.count == 1, let spec = specs.first else {
            throw CacheError(
                .invalidSpec, "the text holds \(specs.count) caches where one is expected",
                context: CacheError.Context(operation: "parse", subject: direction.flag))
        }
        self = spec
    }
}
