import BuildCacheCore
import BuildCacheSpec
import Testing

/// Parses `text` with these variables and no others.
func parse(
    _ text: String, _ direction: CacheSpec.Direction = .export, _ variables: [String: String] = [:],
    leniency: CacheSpec.Leniency = .strict, dialect: CacheSpec.Dialect = .buildx
) throws -> [CacheSpec] {
    try CacheSpec.parse(
        text, for: direction, environment: Environment(variables), leniency: leniency, dialect: dialect)
}

/// The one spec that `text` is.
func one(
    _ text: String, _ direction: CacheSpec.Direction = .export, _ variables: [String: String] = [:],
    leniency: CacheSpec.Leniency = .strict
) throws -> CacheSpec {
    let specs = try parse(text, direction, variables, leniency: leniency)
    try #require(specs.count == 1)
    return specs[0]
}

/// The error that parsing `text` ends with; `nil`, and a failed test, when it does not.
@discardableResult
func refusal(
    of text: String, _ direction: CacheSpec.Direction = .export, _ variables: [String: String] = [:],
    leniency: CacheSpec.Leniency = .strict, dialect: CacheSpec.Dialect = .buildx, mentions parts: String...,
    sourceLocation: SourceLocation = #_sourceLocation
) -> CacheError? {
    let error = #expect(throws: CacheError.self, sourceLocation: sourceLocation) {
        try parse(text, direction, variables, leniency: leniency, dialect: dialect)
    }
    #expect(error?.code == .invalidSpec, sourceLocation: sourceLocation)
    #expect(error?.context.operation == "parse", sourceLocation: sourceLocation)
    #expect(error?.message.contains { $0.isNewline } == false, sourceLocation: sourceLocation)
    for part in parts {
        #expect(
            error?.description.contains(part) == true, "\(error?.description ?? "")", sourceLocation: sourceLocation)
    }
    return error
}

/// What lenient parsing of `text` gave, and what it let pass.
func lenient(
    _ text: String, _ direction: CacheSpec.Direction = .export, _ variables: [String: String] = [:]
) throws -> (specs: [CacheSpec], ignored: [String]) {
    var ignored: [String] = []
    let specs = try CacheSpec.parse(
        text, for: direction, environment: Environment(variables), leniency: .lenient,
        onIgnored: { ignored.append($0.message) })
    return (specs, ignored)
}

extension CacheSpec {
    var registry: RegistryOptions? { if case .registry(let options) = backend { options } else { nil } }
    var local: LocalOptions? { if case .local(let options) = backend { options } else { nil } }
    var gha: GitHubActionsOptions? { if case .gha(let options) = backend { options } else { nil } }
    var s3: S3Options? { if case .s3(let options) = backend { options } else { nil } }
    var azblob: AzureBlobOptions? { if case .azblob(let options) = backend { options } else { nil } }
}
