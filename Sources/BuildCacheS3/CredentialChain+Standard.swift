public import BuildCacheCore
public import BuildCacheHTTP

extension CredentialChain {
    /// Where Amazon's own tools look, in their order: variables, a web identity, a profile, the container, the instance.
    ///
    /// - Source: `Documentation/Spec/backends.md` §5.5.
    public static func standard(
        environment: Environment = .process, transport: HTTPTransport = .shared
    ) -> CredentialChain {
        CredentialChain([
            EnvironmentCredentials(environment),
            WebIdentityCredentials(environment, transport: transport),
            ProfileCredentials(environment, transport: transport),
            ContainerCredentials(environment, transport: transport),
            InstanceCredentials(environment, transport: transport),
        ])
    }
}
