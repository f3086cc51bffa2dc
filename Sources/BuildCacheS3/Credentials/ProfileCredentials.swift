package import BuildCacheCore
package import BuildCacheHTTP

/// A profile of the files that `aws configure` writes: `AWS_PROFILE`, else `default`.
///
/// Knows keys, `source_profile` and `credential_source` with `role_arn`, `web_identity_token_file` and `credential_process`.
///
/// - Source: AWS, "Configuration and credential file settings"; `Documentation/Spec/backends.md` §5.5.
package struct ProfileCredentials: Sendable {
    private let environment: Environment
    private let transport: HTTPTransport

    /// Finds the files by `environment`, asks through `transport`.
    package init(_ environment: Environment = .process, transport: HTTPTransport = .shared) {
        self.environment = environment
        self.transport = transport
    }

    /// The credentials of the profile, `nil` if it has none.
    ///
    /// - Throws: `CacheError` `.invalidSpec` if there is no profile of that name, or profiles that lead to each other;
    ///   `.unsupported` for one that needs a person, as SSO does.
    package func credentials(region: String) async throws -> AWSCredentials? {
        let shared = try await SharedProfiles.read(environment)
        guard shared.profiles[shared.selected] != nil else {
            guard shared.isExplicit else { return nil }
            throw CacheError(.invalidSpec, "there is no profile \"\(shared.selected)\": check AWS_PROFILE and ~/.aws")
        }
        // The profiles that take on roles, from the one that is meant to the one that has something to show.
        var roles: [(profile: String, arn: String)] = []
        var name = shared.selected
        var found: AWSCredentials?
        while true {
            let profile = shared.profiles[name] ?? [:]
            guard let arn = profile["role_arn"], profile["web_identity_token_file"] == nil else {
                found = try await own(profile, name, region)
                break
            }
            if let secret = keys(profile),
                roles.contains(where: { $0.profile == name }) || profile["source_profile"] == name
            {
                // A profile may name itself: then it takes the role on with keys of its own.
                if roles.last?.profile != name { roles.append((name, arn)) }
                found = secret
                break
            }
            guard !roles.contains(where: { $0.profile == name }) else {
                throw CacheError(.invalidSpec, "the profile \"\(name)\" leads to itself by source_profile")
            }
            roles.append((name, arn))
            if let source = profile["source_profile"] {
                guard shared.profiles[source] != nil else {
                    throw CacheError(.invalidSpec, "the profile \"\(name)\" names a source_profile that is not there")
                }
                name = source
            } else {
                found = try await source(profile["credential_source"], name, region)
                break
            }
        }
        guard var credentials = found else {
            guard !roles.isEmpty || shared.isExplicit else { return nil }
            throw CacheError(.denied, "the profile \"\(shared.selected)\" leads to no credentials")
        }
        let service = SecurityTokenService(environment: environment, transport: transport)
        for (profile, arn) in roles.reversed() {
            let settings = shared.profiles[profile] ?? [:]
            guard settings["mfa_serial"] == nil else {
                throw CacheError(
                    .unsupported, "the profile \"\(profile)\" asks for a code of a device, which nobody here can type")
            }
            let role = SecurityTokenService.Role(
                arn: arn, session: settings["role_session_name"] ?? .newSessionName,
                externalID: settings["external_id"], seconds: settings["duration_seconds"])
            credentials = try await service.assume(role, with: credentials, region: settings["region"] ?? region)
        }
        return credentials
    }

    private func keys(_ profile: [String: String]) -> AWSCredentials? {
        guard let id = profile["aws_access_key_id"], let secret = profile["aws_secret_access_key"], !id.isEmpty,
            !secret.isEmpty
        else { return nil }
        return AWSCredentials(
            accessKeyID: id, secretAccessKey: Secret(secret),
            sessionToken: profile["aws_session_token"].map { Secret($0) })
    }

    /// What a profile has without another one.
    private func own(_ profile: [String: String], _ name: String, _ region: String) async throws -> AWSCredentials? {
        if let known = keys(profile) { return known }
        if let file = profile["web_identity_token_file"], let arn = profile["role_arn"] {
            return try await WebIdentityCredentials.credentials(
                arn, file, profile["role_session_name"],
                SecurityTokenService(environment: environment, transport: transport), profile["region"] ?? region)
        }
        if let command = profile["credential_process"] {
            return try await CredentialProcess(command: command, profile: name).credentials()
        }
        guard profile.keys.allSatisfy({ !$0.hasPrefix("sso_") && $0 != "login_session" }) else {
            throw CacheError(
                .unsupported,
                "the profile \"\(name)\" logs in with a browser: set its credential_process to "
                    + "\"aws configure export-credentials\" with that profile, or give keys")
        }
        return nil
    }

    /// What `credential_source` means.
    private func source(_ text: String?, _ name: String, _ region: String) async throws -> AWSCredentials? {
        switch text {
        case "Environment": return environment.awsCredentials
        case "Ec2InstanceMetadata":
            return try await InstanceCredentials(environment, transport: transport).credentials(region: region)
        case "EcsContainer":
            return try await ContainerCredentials(environment, transport: transport).credentials(region: region)
        default:
            throw CacheError(
                .invalidSpec,
                "the profile \"\(name)\" has a role_arn, and neither source_profile nor a credential_source that is one"
            )
        }
    }
}
