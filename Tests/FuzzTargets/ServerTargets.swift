@testable import BuildCacheAzure
import BuildCacheCore
@testable import BuildCacheGitHubActions
@testable import BuildCacheHTTP
@testable import BuildCacheRegistry
@testable import BuildCacheS3

extension FuzzTarget {
    /// Answers of services, and the files and variables that say where services are and who logs in.
    static let servers = [headers, lists, logins, tokens, settings]

    private static let headers = FuzzTarget("headers", seeds: { _, _ in false }) { input in
        let text = input.text
        for challenge in AuthChallenge.parse([text]) { _ = AuthScopes(challenge.parameters.values.map { $0 }) }
        if let next = RegistryRepository.nextPage(text), let base = try? ServiceURL("https://registry.example/v2/") {
            let url = try? base.resolving(next)
            try check(url.map { !$0.host.isEmpty } ?? true, "a link leads to a URL without a host")
        }
        _ = retryAfter(text, now: .zero)
    }

    /// Lists of objects, of uploads and of blobs, and the errors of S3 and Azure.
    private static let lists = FuzzTarget("lists", seeds: { _, bytes in bytes.first == UInt8(ascii: "<") }) { input in
        let bytes = input.rest.bytes
        switch input.choice % 3 {
        case 0: for object in try ObjectPage(bytes).objects { _ = object.key }
        case 1: _ = try UploadPage(bytes)
        default: _ = try BlobPage(bytes)
        }
    }

    private static let logins = FuzzTarget("logins", seeds: { path, _ in path.hasSuffix("config.json") }) { input in
        let config = try DockerConfig(input.bytes)
        for domain in ["https://index.docker.io/v1/", "registry.example", "ghcr.io"] {
            _ = config.helper(for: domain)
            _ = try config.entry(domain)?.credential(for: domain)
        }
    }

    /// Answers with tokens and other secrets, which no error may repeat.
    private static let tokens = FuzzTarget("tokens", seeds: { _, _ in false }) { input in
        let secret = "s3cr3t"
        let bytes = Array(input.rest.text.replacing("TOKEN", with: secret).utf8)
        do throws(CacheError) {
            switch input.choice % 3 {
            case 0: _ = try AzureToken(answer: bytes, now: .zero)
            case 1: _ = try JSONText.values(bytes, "the server")
            default: _ = try TokenAnswer(bytes, "the server")
            }
        } catch {
            try check(!error.debugDescription.contains(secret), "an error shows a token: \(error.debugDescription)")
            throw error
        }
    }

    /// Files that say how registries and AWS are reached, and the variables that name proxies.
    private static let settings = FuzzTarget("settings", seeds: { path, _ in path.hasSuffix(".toml") }) { input in
        let rest = input.rest
        switch input.choice % 3 {
        case 0: _ = try TOMLReader.read(rest.bytes)
        case 1:
            var profiles = SharedProfiles(selected: "default", isExplicit: false)
            profiles.add(rest.text(0), isConfig: true)
            profiles.add(rest.text(1), isConfig: false)
        default:
            let settings = ProxySettings(
                Environment(["HTTPS_PROXY": rest.text(0), "NO_PROXY": rest.text(1), "HTTP_PROXY": rest.text(2)]))
            _ = try settings.server(for: ServiceURL("https://registry.example/"))
        }
    }
}
