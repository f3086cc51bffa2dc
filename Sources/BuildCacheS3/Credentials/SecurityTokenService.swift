import BuildCacheBytes
import BuildCacheCore
import BuildCacheHTTP
import NIOHTTP1

/// Lends the credentials of a role.
///
/// - Source: AWS STS API, AssumeRole and AssumeRoleWithWebIdentity; `Documentation/Spec/backends.md` §5.5.
struct SecurityTokenService: Sendable {
    let environment: Environment
    let transport: HTTPTransport

    /// A role to take on.
    struct Role: Sendable {
        var arn: String
        /// Shows up in logs.
        var session: String
        var externalID: String?
        var seconds: String?
    }

    /// Takes on a role for who has credentials already.
    func assume(_ role: Role, with credentials: AWSCredentials, region: String) async throws -> AWSCredentials {
        try await ask("AssumeRole", role, secrets: [], signedWith: credentials, region)
    }

    /// Takes on a role for who can show a token of somebody whom the role trusts.
    func assume(_ role: Role, showing token: Secret<String>, region: String) async throws -> AWSCredentials {
        try await ask(
            "AssumeRoleWithWebIdentity", role, secrets: [("WebIdentityToken", token)], signedWith: nil, region)
    }

    private func ask(
        _ action: String, _ role: Role, secrets: [(name: String, value: Secret<String>)],
        signedWith credentials: AWSCredentials?, _ region: String
    ) async throws -> AWSCredentials {
        var fields = [
            (name: "Action", value: action), ("Version", "2011-06-15"), ("RoleArn", role.arn),
            ("RoleSessionName", role.session),
        ]
        if let id = role.externalID { fields.append(("ExternalId", id)) }
        if let seconds = role.seconds { fields.append(("DurationSeconds", seconds)) }
        let form = CredentialForm(fields, secrets: secrets)
        let settings = try await AWSSettings.read(environment)
        let url = try SecurityTokenService.endpoint(region, try settings.endpoints(of: "sts"))
        let tls = try settings.tls()
        if credentials == nil {
            // A signature is worth nothing elsewhere; the token of a web identity is a credential by itself.
            guard url.scheme == "https" || url.isLoopback else {
                throw CacheError(
                    .denied,
                    "the token of the web identity is not sent to \(url.origin) without encryption: use https:// in "
                        + "AWS_ENDPOINT_URL_STS")
            }
        }
        let retries = transport.retries()
        let clock = ClockOffset()
        var isCorrected = false
        while true {
            do {
                let time = clock.corrected(.now())
                var request = try request(url, form, credentials, region, at: time)
                request.tls = tls
                let response = try await transport.sendOnce(request)
                let date = response.headers.first(name: "Date")
                if response.status == .forbidden, credentials != nil, !isCorrected,
                    clock.learn(from: date, signedAt: time, local: .now(), transport.logger)
                {
                    isCorrected = true
                    await response.discard()
                    continue
                }
                guard response.status == .ok else {
                    throw await refusal(response, action, role)
                }
                let root = try XMLNode.parse(try await response.collect(upTo: 1 << 20), "\(action)Response")
                let lent = root.first("\(action)Result")?.first("Credentials")
                return try AWSCredentials(from: "the token service") { lent?.value($0) }
            } catch let error as CacheError {
                try await retries.pause(after: error)
            }
        }
    }

    static func endpoint(_ region: String, _ settings: EndpointSettings) throws(CacheError) -> ServiceURL {
        if let configured = settings.configured {
            try settings.check(custom: configured.name)
            return configured.url.base.hasSuffix("/") ? configured.url : try configured.url.appending("/")
        }
        let label = try HostLabel(region: region)
        let partition = AWSPartition(of: label)
        try settings.check(partition)
        // In these regions every host has validated cryptography.
        let isFIPS = settings.usesFIPS && (partition.id != "aws-us-gov" || settings.usesDualStack)
        let service = try HostLabel(service: isFIPS ? "sts-fips" : "sts")
        return try ServiceURL(
            [service, label], in: settings.usesDualStack ? partition.dualStackSuffix : partition.suffix
        ).appending("/")
    }

    private func request(
        _ url: ServiceURL, _ form: CredentialForm, _ credentials: AWSCredentials?, _ region: String,
        at now: Timestamp
    ) throws(CacheError) -> OutgoingRequest {
        var request = OutgoingRequest(posting: form, to: url)
        request.returnsEveryAnswer = true
        guard let credentials else { return request }
        let host = url.host + (url.port.map { ":\($0)" } ?? "")
        var headers = [
            ("host", host), ("content-type", CredentialForm.contentType), ("x-amz-date", now.amazonText),
        ]
        request.headers.add(name: "X-Amz-Date", value: now.amazonText)
        if let token = credentials.sessionToken {
            headers.append(("x-amz-security-token", token.exposed))
            try request.credentials.set("X-Amz-Security-Token", token)
        }
        let authorization = SignatureV4(region: region, service: "sts").authorization(
            for: SignatureV4.Message(
                method: "POST", path: url.path, headers: headers, payloadHash: form.digest.hex),
            accessKeyID: credentials.accessKeyID, secretAccessKey: credentials.secretAccessKey, at: now)
        try request.credentials.set("Authorization", Secret(authorization))
        return request
    }

    private func refusal(_ response: IncomingResponse, _ action: String, _ role: Role) async -> CacheError {
        let failure = await response.failure { bytes in
            guard let error = (try? XMLNode.parse(bytes))?.error else { return nil }
            return (error.value("Code"), error.value("Message"))
        }
        var error = failure.error
        switch failure.code {
        // The one who issued the token may not be known everywhere yet.
        case "InvalidIdentityToken", "IDPCommunicationError": error.retry = .worthwhile
        case "ExpiredTokenException", "AccessDenied", "SignatureDoesNotMatch", "InvalidClientTokenId": break
        default: return error
        }
        error.code = .denied
        error.message += "; the role \(role.arn) cannot be taken on: check who it trusts, and sts:\(action)"
        return error
    }
}
