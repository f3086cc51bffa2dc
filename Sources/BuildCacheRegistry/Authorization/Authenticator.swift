import BuildCacheBytes
import BuildCacheCore
import BuildCacheHTTP
import Logging
import NIOHTTP1
import NIOSSL
import Synchronization

/// The authentication state of one registry: challenge, logins and cached tokens, shared by all requests to it.
///
/// Nothing is shown before the registry asks. After that every request carries what the first 401 asked for, tokens are fetched once
/// for all who wait for them, and a new one in good time before the old one ends.
final class Authenticator: Sendable {
    /// The header that a request carried.
    struct Authorization: Sendable {
        var header: Secret<String>
        /// Whether the header is a token of the token server, which expires.
        fileprivate var isFetched = false
        /// The number of the fetch it came from: of two 401 for one token only the first throws it away.
        fileprivate var generation: Int
    }

    fileprivate enum Scheme: Hashable {
        case basic
        case bearer(realm: String, service: String?)
    }
    fileprivate struct Token: Sendable {
        var text: Secret<String>
        var scopes: AuthScopes
        var expires: ContinuousClock.Instant
        var generation: Int
        /// Whether the registry accepted it once: a refusal after that means that it ended.
        var wasAccepted = false
    }
    fileprivate struct Login: Hashable {
        var credential: RegistryCredential?
    }
    fileprivate struct State {
        var scheme: Scheme?
        var tokens: [Token] = []
        /// Scopes that the registry asked for beyond those of a request, by these.
        var demanded: [AuthScopes: AuthScopes] = [:]
        /// The registry's login, `nil` before the source of credentials was asked.
        var login: Login?
        /// Logins that are for some scopes only, `nil` where the registry's counts.
        var narrowLogins: [AuthScopes: Login?] = [:]
        /// Faults of the places where credentials were looked for.
        var problems: [String] = []
        var generation = 0
        /// Whether the token server takes only GET.
        var prefersGet = false
    }
    private struct TokenRequest: Hashable {
        var scopes: AuthScopes
        var generation: Int
    }

    private let domain: String
    /// Whether what is sent to the registry can be read on the way.
    private let isPlain: Bool
    private let credentials: RegistryCredentials
    /// Why no credentials are sent, `nil` if they are.
    private let withholds: String?
    private let transport: HTTPTransport
    /// The options to connect to a token server with.
    private let tls: @Sendable (ServiceURL) -> TLSConfiguration?
    private let state = Mutex(State())
    private let fetches = SharedWork<TokenRequest, Authorization>()

    /// Tokens that say nothing about it last so long.
    private static let defaultLifetime: Int64 = 60
    private static let answerLimit = 1 << 20
    /// The most scopes that are kept for what a registry demands: resources and actions of one request, and requests.
    fileprivate static let demandLimit = 64
    fileprivate static let memoryLimit = 1000

    init(
        domain: String, isPlain: Bool, credentials: RegistryCredentials, withholds: String?, transport: HTTPTransport,
        tls: @escaping @Sendable (ServiceURL) -> TLSConfiguration?
    ) {
        self.domain = domain
        self.isPlain = isPlain
        self.credentials = credentials
        self.withholds = withholds
        self.transport = transport
        self.tls = tls
    }

    /// Faults of the places where credentials were looked for, one line each.
    var problems: [String] { state.withLock { $0.problems } }

    // MARK: Asking and answering

    /// The header for a request with these scopes, `nil` as long as the registry wants none.
    func authorization(for scopes: AuthScopes) async throws -> Authorization? {
        let (scheme, wanted, generation) = state.withLock { state in
            (state.scheme, state.demanded[scopes].map { scopes.union($0) } ?? scopes, state.generation)
        }
        switch scheme {
        case nil: return nil
        case .basic:
            guard let credential = try await credential(for: wanted), case .password = credential,
                let header = header(credential)
            else { return nil }
            return Authorization(header: header, generation: generation)
        case .bearer(let realm, let service):
            if let credential = try await credential(for: wanted), case .registryToken = credential,
                let header = header(credential)
            {
                return Authorization(header: header, generation: generation)
            }
            let now = ContinuousClock.now
            let kept = state.withLock { state in
                state.tokens.removeAll { $0.expires <= now }
                return state.tokens.first { $0.scopes.contains(wanted) }
            }
            if let kept {
                return Authorization(
                    header: Secret("Bearer " + kept.text.exposed), isFetched: true, generation: kept.generation)
            }
            return try await fetches.value(for: TokenRequest(scopes: wanted, generation: generation)) {
                try await self.fetchToken(realm: realm, service: service, wanted)
            }
        }
    }

    /// Takes note that the registry let in who carried this.
    func accepted(_ authorization: Authorization) {
        state.withLock { state in
            guard let index = state.tokens.firstIndex(where: { $0.generation == authorization.generation }) else {
                return
            }
            state.tokens[index].wasAccepted = true
        }
    }

    /// Whether it is a token that was good before, or that another request has replaced already: nothing is wrong with the credentials.
    func hasEnded(_ authorization: Authorization) -> Bool {
        state.withLock { state in
            guard case .bearer = state.scheme, authorization.isFetched else { return false }
            return state.tokens.first { $0.generation == authorization.generation }?.wasAccepted ?? true
        }
    }

    /// Learns from a 401.
    ///
    /// - Parameters:
    ///   - scopes: The scopes of the request.
    ///   - rejected: The header that the request carried.
    ///   - rejections: The number of times that this request carried something that was refused when it was new.
    /// - Returns: Whether there is something else to try.
    func learn(
        from headers: HTTPHeaders, for scopes: AuthScopes, rejected: Authorization?, rejections: Int
    ) async throws -> Bool {
        let challenges = AuthChallenge.parse(headers["WWW-Authenticate"])
        let bearer = challenges.first { $0.scheme == "bearer" && $0.parameters["realm"] != nil }
        guard let challenge = bearer ?? challenges.first(where: { $0.scheme == "basic" }) else { return false }
        let wanted = state.withLock { state -> AuthScopes in
            state.scheme =
                challenge.scheme == "basic"
                ? .basic : .bearer(realm: challenge.parameters["realm"] ?? "", service: challenge.parameters["service"])
            if let scope = challenge.parameters["scope"] { state.demand(AuthScopes([scope]), for: scopes) }
            if let rejected,
                rejected.generation == state.generation
                    || state.tokens.contains(where: { $0.generation == rejected.generation })
            {
                state.tokens.removeAll { $0.generation == rejected.generation }
                state.generation += 1
            }
            return state.demanded[scopes].map { scopes.union($0) } ?? scopes
        }
        // A first token may have expired early. A credential that is refused itself needs a replacement at once.
        if rejections >= (challenge.scheme == "basic" || rejected?.isFetched == false ? 1 : 2) {
            // Another request may have replaced it meanwhile.
            if let rejected, !rejected.isFetched, let current = try await credential(for: wanted),
                header(current) != rejected.header
            {
                return true
            }
            return try await replaceCredential(for: wanted)
        }
        if challenge.scheme == "basic" {
            guard case .password = try await credential(for: wanted) else { return false }
        }
        return true
    }

    /// The credential for these scopes, asked for once.
    private func credential(for scopes: AuthScopes) async throws -> RegistryCredential? {
        guard withholds == nil else { return nil }
        if let known = state.withLock({ $0.narrowLogins[scopes] }) {
            if let narrow = known { return narrow.credential }
        } else {
            let (answer, problems) = try await credentials.narrow(domain, scopes)
            note(problems + (answer?.problems ?? []))
            let login = answer.map { Login(credential: $0.credential) }
            state.withLock { $0.keep(login, for: scopes) }
            if let login { return login.credential }
        }
        if let known = state.withLock({ $0.login }) { return known.credential }
        let answer = try await credentials(.init(domain: domain, rejected: nil))
        note(answer.problems)
        return state.withLock { state in
            let login = state.login ?? Login(credential: answer.credential)
            state.login = login
            return login.credential
        }
    }

    /// Asks again for a credential that was refused.
    ///
    /// - Returns: Whether there is another one now.
    private func replaceCredential(for scopes: AuthScopes) async throws -> Bool {
        guard withholds == nil else { return false }
        let (narrow, wide) = state.withLock { ($0.narrowLogins[scopes] ?? nil, $0.login) }
        let answer: RegistryCredentials.Answer
        if narrow != nil {
            guard let found = try await credentials.narrow(domain, scopes).credential else { return false }
            answer = found
        } else {
            answer = try await credentials(.init(domain: domain, rejected: wide?.credential))
        }
        note(answer.problems)
        guard let new = answer.credential, new != (narrow ?? wide)?.credential else { return false }
        state.withLock { state in
            if narrow != nil {
                state.keep(Login(credential: new), for: scopes)
            } else {
                state.login = Login(credential: new)
            }
            state.tokens = []
            state.generation += 1
        }
        return true
    }

    /// Keeps a problem, and logs it the first time.
    private func note(_ problems: [String]) {
        for problem in problems {
            let isNew = state.withLock { state -> Bool in
                guard !state.problems.contains(problem), state.problems.count < Authenticator.memoryLimit else {
                    return false
                }
                state.problems.append(problem)
                return true
            }
            if isNew { transport.logger.warning("\(problem)") }
        }
    }

    /// The header that shows a credential to the registry itself, `nil` for a credential of its token server.
    private func header(_ credential: RegistryCredential) -> Secret<String>? {
        switch credential {
        case .password(let user, let password): Secret(basic(user, password.exposed))
        case .registryToken(let token): Secret("Bearer " + token.exposed)
        case .identityToken: nil
        }
    }

    private func basic(_ user: String, _ password: String) -> String {
        "Basic " + String(decoding: Base64.encode(Array("\(user):\(password)".utf8)), as: UTF8.self)
    }

    // MARK: Tokens

    /// Gets a token for these scopes.
    ///
    /// With credentials by POST, as OAuth 2 has it, and by GET where the server does not know that or does not like it; without, by GET.
    private func fetchToken(realm: String, service: String?, _ scopes: AuthScopes) async throws -> Authorization {
        let url = try tokenServer(realm)
        var credential = try await credential(for: scopes)
        let started = ContinuousClock.now
        var response = try await askForToken(url, service, scopes, credential)
        if [400, 401, 403].contains(response.status.code), let refused = credential,
            let other = try await replacement(for: scopes, of: refused)
        {
            // Logins expire, and a process may outlive them.
            await response.discard()
            credential = other
            response = try await askForToken(url, service, scopes, credential)
        }
        guard (200..<300).contains(response.status.code) else {
            var error = await response.failure().error
            error.code = response.status.code >= 500 ? .unavailable : .denied
            error.message = "no token for \(domain): \(error.message)\(advice(credential))"
            throw error
        }
        let answer = try TokenAnswer(try await response.collect(upTo: Authenticator.answerLimit), url.base)
        // Until nine tenths of its life are over, so that it does not end on its way. Our own clock may be wrong, its speed is not.
        let lifetime = answer.expiresIn > 0 ? answer.expiresIn : Authenticator.defaultLifetime
        return state.withLock { state in
            state.generation += 1
            state.tokens.append(
                Token(
                    text: answer.token, scopes: scopes, expires: started + .milliseconds(lifetime * 900),
                    generation: state.generation))
            return Authorization(
                header: Secret("Bearer " + answer.token.exposed), isFetched: true, generation: state.generation)
        }
    }

    /// Asks the token server once, or by a second method if it does not take the first one.
    private func askForToken(
        _ url: ServiceURL, _ service: String?, _ scopes: AuthScopes, _ credential: RegistryCredential?
    ) async throws -> IncomingResponse {
        let prefersGet = state.withLock { $0.prefersGet }
        switch credential {
        case .identityToken(let token):
            return try await post(
                [("grant_type", "refresh_token")], ("refresh_token", token), to: url, service, scopes)
        case .password(let user, let password) where !prefersGet:
            var response = try await post(
                [("grant_type", "password"), ("username", user)], ("password", password), to: url, service, scopes)
            if [400, 401, 404, 405].contains(response.status.code) {
                await response.discard()
                response = try await get(url, service, scopes, credential)
                if response.status.code == 200 { state.withLock { $0.prefersGet = true } }
            }
            return response
        default: return try await get(url, service, scopes, credential)
        }
    }

    /// The credential for these scopes in place of a refused one, `nil` if there is none that a token server takes.
    private func replacement(
        for scopes: AuthScopes, of refused: RegistryCredential
    ) async throws -> RegistryCredential? {
        // Another request may have replaced it meanwhile.
        if try await credential(for: scopes) == refused {
            guard try await replaceCredential(for: scopes) else { return nil }
        }
        let credential = try await credential(for: scopes)
        if case .registryToken = credential { return nil }
        return credential
    }

    /// The remedy for a refusal.
    private func advice(_ credential: RegistryCredential?) -> String {
        if let withholds {
            return
                "; no credentials are sent to \(domain), because only registry.insecure=true in the spec says so and \(withholds): set RegistryHost(plainHTTP: true) or TLSOptions(verifiesCertificates: false) for it, or allow the host in RegistrySettings.allowedInsecureHosts"
        }
        guard credential == nil else { return "; the credentials for \(domain) are not accepted or not enough" }
        let problems = problems.map { " (\($0))" }.joined()
        return
            "; no credentials for \(domain) were found\(problems): run \"docker login \(domain)\" or give credentials"
    }

    /// The remedy for a refusal of what was last tried for these scopes.
    func advice(for scopes: AuthScopes) -> String {
        advice(
            state.withLock { state in
                let wanted = state.demanded[scopes].map { scopes.union($0) } ?? scopes
                return ((state.narrowLogins[wanted] ?? nil) ?? state.login)?.credential
            })
    }

    private func tokenServer(_ realm: String) throws -> ServiceURL {
        let url: ServiceURL
        do { url = try ServiceURL(realm) } catch {
            throw CacheError(.unsupported, "\(domain) sends to a token server that is no URL: \(error.message)")
        }
        // Whoever can change what a registry says must not get the password in the clear.
        guard url.scheme == "https" || isPlain || url.isLoopback else {
            throw CacheError(.denied, "\(domain) sends to a token server without encryption, \(url.base): refused")
        }
        return url
    }

    private func get(
        _ url: ServiceURL, _ service: String?, _ scopes: AuthScopes, _ credential: RegistryCredential?
    ) async throws -> IncomingResponse {
        let query = (service.map { [("service", $0)] } ?? []) + scopes.texts.map { ("scope", $0) }
        var request = OutgoingRequest(
            .GET, try url.adding(query.map { (name: $0.0, value: $0.1) }), tls: tls(url))
        if case .password(let user, let password) = credential {
            try request.credentials.set("Authorization", Secret(basic(user, password.exposed)))
        }
        return try await transport.send(request)
    }

    private func post(
        _ form: [(name: String, value: String)], _ secret: (name: String, value: Secret<String>), to url: ServiceURL,
        _ service: String?, _ scopes: AuthScopes
    ) async throws -> IncomingResponse {
        var form = form + [("client_id", "swift-build-cache"), ("scope", scopes.texts.joined(separator: " "))]
        if let service { form.append(("service", service)) }
        var request = OutgoingRequest(posting: CredentialForm(form, secrets: [secret]), to: url)
        request.tls = tls(url)
        return try await transport.send(request)
    }
}

extension Authenticator.State {
    /// Takes note of scopes that a registry asks for; a registry that asks for more and more is not listened to.
    fileprivate mutating func demand(_ demand: AuthScopes, for scopes: AuthScopes) {
        let united = demanded[scopes].map { $0.union(demand) } ?? demand
        guard united.count <= Authenticator.demandLimit else { return }
        if demanded.count >= Authenticator.memoryLimit { demanded = [:] }
        demanded[scopes] = united
    }

    /// Takes note of the login for some scopes, `nil` if it is the registry's.
    fileprivate mutating func keep(_ login: Authenticator.Login?, for scopes: AuthScopes) {
        if narrowLogins.count >= Authenticator.memoryLimit { narrowLogins = [:] }
        narrowLogins[scopes] = .some(login)
    }
}

/// What a token server says.
struct TokenAnswer {
    let token: Secret<String>
    let expiresIn: Int64

    private struct Fields {
        var token: String?
        var accessToken: String?
        var expiresIn: Int64 = 0
    }

    init(_ bytes: [UInt8], _ server: String) throws(CacheError) {
        let fields: Fields
        do {
            fields = try JSONReader.read(bytes, as: "token") { reader throws(CacheError) in
                var fields = Fields()
                guard try reader.beginObject() else { return fields }
                while let key = try reader.nextKey() {
                    switch key {
                    case "token": fields.token = try reader.nonEmptyString()
                    case "access_token": fields.accessToken = try reader.nonEmptyString()
                    // Some write a fraction; a token of unknown life lives shortly.
                    case "expires_in":
                        let text = String(decoding: try reader.skipValue(), as: UTF8.self)
                        fields.expiresIn = Int64(decimal: text, in: 0...1 << 32) ?? 0
                    default: try reader.skipValue()
                    }
                }
                return fields
            }
        } catch {
            // Not with the error's own words: they may quote the token.
            throw CacheError(.corrupted, "the token server \(server) answers with something else than JSON")
        }
        guard let text = fields.accessToken ?? fields.token else {
            throw CacheError(.denied, "the token server \(server) answers without a token")
        }
        token = Secret(text)
        expiresIn = fields.expiresIn
    }
}
