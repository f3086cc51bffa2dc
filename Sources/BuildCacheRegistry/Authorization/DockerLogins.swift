import BuildCacheCore

/// The logins that Docker and buildx keep: a variable, files, and programs that the files name.
///
/// - Source: docker/cli `cli/config/config.go`, `cli/config/configfile/file.go`; buildx `util/dockerutil/dockerconfig/configprovider.go`.
struct DockerLogins: Sendable {
    let environment: Environment

    /// Docker Hub was an index once, and its credentials are still kept under that.
    private static let hubKey = "https://index.docker.io/v1/"
    private static let hub = "docker.io"
    /// Registries that take a login of Docker Hub.
    private static let hubBacked = ["dhi.io", "registry.scout.docker.com"]

    /// The folder of `config.json`.
    private var folder: String? {
        environment["DOCKER_CONFIG"].flatMap { $0.isEmpty ? nil : $0 } ?? environment["HOME"].map { $0 + "/.docker" }
    }

    /// The folder with a folder for each narrow login.
    private var scopedFolder: String? {
        let buildx = environment["BUILDX_CONFIG"].flatMap { $0.isEmpty ? nil : $0 } ?? folder.map { $0 + "/buildx" }
        return buildx.map { $0 + "/config" }
    }

    // MARK: Logins

    /// The login of a registry.
    ///
    /// A place that cannot be used is passed over, as Docker does, and is among the problems.
    ///
    /// - Throws: `CacheError` of a helper: `.unavailable` if it is not installed, `.denied`, `.corrupted`.
    func login(to domain: String) async throws -> RegistryCredentials.Answer {
        var answer = try await login(to: domain, in: folder)
        if answer.credential == nil, DockerLogins.hubBacked.contains(domain) {
            answer.credential = try? await login(to: DockerLogins.hub, in: folder).credential
        }
        return answer
    }

    /// The login that is for these scopes only, of those that match the most specific one.
    ///
    /// Only scopes of one repository have such a login.
    ///
    /// - Returns: `nil` for the credential if the registry's login counts; a login that matches counts though it has no credential.
    func login(
        to domain: String, for scopes: AuthScopes
    ) async throws -> (credential: RegistryCredentials.Answer?, problems: [String]) {
        guard let base = scopedFolder, let (resource, actions) = scopes.single, resource.hasPrefix("repository:") else {
            return (nil, [])
        }
        let path = String(resource.dropFirst("repository:".count))
        let found = try await narrowLogin(to: domain, path, actions, base)
        guard found.credential?.credential == nil, DockerLogins.hubBacked.contains(domain) else { return found }
        if found.credential == nil, try await login(to: domain, in: folder).credential != nil { return found }
        // Nothing for the registry itself: as buildx, the login of Docker Hub for these scopes, else that of Docker Hub.
        if let hub = try? await narrowLogin(to: DockerLogins.hub, path, actions, base).credential {
            return (hub, found.problems)
        }
        return (try? await login(to: DockerLogins.hub, in: folder), found.problems)
    }

    private func narrowLogin(
        to domain: String, _ path: String, _ actions: Set<String>, _ base: String
    ) async throws -> (credential: RegistryCredentials.Answer?, problems: [String]) {
        do {
            for login in try await ScopedLogin.all(for: Reference.apiHost(of: domain), path, actions, in: base) {
                let file = "\(login.folder)/config.json"
                do {
                    guard try await ConfigurationFile.read(file) != nil else { continue }
                } catch {
                    return (nil, ["\(file) is not used: \(error.message)"])
                }
                let answer = try await self.login(to: domain, in: login.folder)
                // Like buildx: a file that cannot be used leaves the registry's login.
                return answer.problems.isEmpty ? (answer, []) : (nil, answer.problems)
            }
            return (nil, [])
        } catch let error as CacheError where [.denied, .limitExceeded].contains(error.code) {
            return (nil, ["logins in \(base) are not used: \(error.message)"])
        }
    }

    /// The first place that has a login: the variable, the helper for the registry, the helper for all, the file.
    private func login(to domain: String, in folder: String?) async throws -> RegistryCredentials.Answer {
        var answer = RegistryCredentials.Answer()
        let key = domain == DockerLogins.hub ? DockerLogins.hubKey : domain
        if let text = environment["DOCKER_AUTH_CONFIG"], !text.isEmpty {
            do throws(CacheError) {
                answer.credential = try DockerConfig(Array(text.utf8)).entry(key)?.credential(for: domain)
            } catch {
                answer.problems.append("DOCKER_AUTH_CONFIG is not used: \(error.message)")
            }
        }
        guard answer.credential == nil, let folder else { return answer }
        let file = folder + "/config.json"
        let config: DockerConfig
        do throws(CacheError) {
            guard let bytes = try await ConfigurationFile.read(file) else { return answer }
            config = try DockerConfig(bytes)
        } catch {
            answer.problems.append("\(file) is not used: \(error.message)")
            return answer
        }
        if let helper = config.helper(for: key) {
            answer.credential = try await CredentialHelper(name: helper).credential(for: key, environment)
            return answer
        }
        do throws(CacheError) { answer.credential = try config.entry(key)?.credential(for: domain) } catch {
            answer.problems.append("\(file) is not used: \(error.message)")
        }
        return answer
    }
}

/// A login that buildx keeps for a repository, for some actions, or for both: `<host>/<repository>@<actions>`.
private struct ScopedLogin {
    var folder: String
    var hasRepository: Bool
    var actions: Set<String>

    /// The logins that match a repository and what is to be done there, the most specific one first.
    ///
    /// - Parameters:
    ///   - host: As in `registry-1.docker.io`.
    ///   - path: As in `library/app`.
    ///   - wanted: As in `pull` and `push`; a login matches if its actions are among these.
    static func all(
        for host: String, _ path: String, _ wanted: Set<String>, in base: String
    ) async throws(CacheError) -> [ScopedLogin] {
        var parts = path.split(separator: "/", omittingEmptySubsequences: false).map { String($0) }
        guard let last = parts.popLast(), !parts.contains(where: { ["", ".", ".."].contains($0) }) else { return [] }
        let parent = ([base, host] + parts).joined(separator: "/")
        // Names without a repository, in both forms that are possible, then those of the repository.
        let places = [(base, host, false), ("\(base)/\(host)", "", false), (parent, last, true)]
        var logins: [ScopedLogin] = []
        for (folder, name, hasRepository) in places {
            for entry in try await ConfigurationFile.names(in: folder) ?? [] {
                guard entry == name || entry.hasPrefix(name + "@") else { continue }
                let texts = entry.dropFirst(name.count + 1).split(separator: ",")
                let actions = Set(texts.map { $0.filter { $0 != " " } }.filter { !$0.isEmpty })
                guard actions.isSubset(of: wanted) else { continue }
                logins.append(
                    ScopedLogin(folder: "\(folder)/\(entry)", hasRepository: hasRepository, actions: actions))
            }
        }
        return logins.sorted { first, second in
            guard first.hasRepository == second.hasRepository else { return first.hasRepository }
            guard first.actions.count == second.actions.count else {
                return first.actions.count > second.actions.count
            }
            return first.folder < second.folder
        }
    }
}
