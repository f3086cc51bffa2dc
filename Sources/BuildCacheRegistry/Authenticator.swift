import BuildCacheBytes
import BuildCacheCore
import BuildCacheHTTP
import BuildCacheJSON
import BuildCacheSpec
import NIOHTTP1
import Synchronization

/// What one registry wants to see, and what we have to show: shared by all requests to it.
///
/// Nothing is shown before the registry asks. After that every request carries what the first 401 asked for, tokens are fetched once
/// for all who wait for them, and a new one in good time before the old one ends.
final class Authenticator: Sendable {
    /// What a request carried.
    struct Authorization: Sendable {
        var header: Secret<String>
        /// Which fetch it came from: of two 401 for one token only the first throws it away.
        fileprivate var generation: Int
    }

    private enum Scheme: Hashable {
        case basic
        case bearer(realm: String, service: String?)
    }
    private struct Token: Sendable {
        var text: Secret<String>
        var scopes: AuthScopes
        var expires: ContinuousClock.Instant
        var generation: Int
        /// Whether the registry let somebody in with it: a refusal after that means that it ended.
        var wasAccepted = false
    }
    private struct State {
        var scheme: Scheme?
        var tokens: [Token] = []
        /// Scopes that the registry asked for beyond those we know to want.
        var demanded = AuthScopes([])
        var credential: RegistryCredential?
        var hasAsked = false
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
    private let transport: HTTPTransport
    private let state = Mutex(State())
    private let fetches = SharedWork<TokenRequest, Authorization>()

    /// Tokens that say nothing about it last so long.
    private static let defaultLifetime: Int64 = 60
    private static let answerLimit = 1 << 20

    init(domain: String, isPlain: Bool, credentials: RegistryCredentials, transport: HTTPTransport) {
        self.domain = domain
        self.isPlain = isPlain
        self.credentials = credentials
        self.transport = transport
    }

    // MARK: Asking and answering

    /// What a request for these scopes should carry, `nil` as long as the registry wants nothing.
    func authorization(for scopes: AuthScopes) async throws -> Authorization? {
        let (scheme, wanted, generation) = state.withLock { ($0.scheme, scopes.union($0.demanded), $0.generation) }
        switch scheme {
        case nil: return nil
        case .basic:
            guard case .password(let user, let password) = try await credential() else { return nil }
            return Authorization(header: Secret(basic(user, password.exposed)), generation: generation)
        case .bearer(let realm, let service):
            if case .registryToken(let token) = try await credential() {
                return Authorization(header: Secret("Bearer " + token.exposed), generation: generation)
            }
            let now = ContinuousClock.now
            let kept = state.withLock { state in
                state.tokens.removeAll { $0.expires <= now }
                return state.tokens.first { $0.scopes.contains(wanted) }
            }
            if let kept {
                return Authorization(header: Secret("Bearer " + kept.text.exposed), generation: kept.generation)
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
            guard case .bearer = state.scheme else { return false }
            return state.tokens.first { $0.generation == authorization.generation }?.wasAccepted ?? true
        }
    }

    /// Learns from a 401.
    ///
    /// - Parameters:
    ///   - rejected: What the request carried.
    ///   - rejections: How often this request carried something that was refused when it was new.
    /// - Returns: Whether there is something else to try.
    func learn(from headers: HTTPHeaders, rejected: Authorization?, rejections: Int) async throws -> Bool {
        let challenges = AuthChallenge.parse(headers["WWW-Authenticate"])
        let bearer = challenges.first { $0.scheme == "bearer" && $0.parameters["realm"] != nil }
        guard let challenge = bearer ?? challenges.first(where: { $0.scheme == "basic" }) else { return false }
        let refused = state.withLock { state -> RegistryCredential? in
            state.scheme =
                challenge.scheme == "basic"
                ? .basic : .bearer(realm: challenge.parameters["realm"] ?? "", service: challenge.parameters["service"])
            if let scope = challenge.parameters["scope"] { state.demanded = state.demanded.union(AuthScopes([scope])) }
            if let rejected,
                rejected.generation == state.generation
                    || state.tokens.contains(where: { $0.generation == rejected.generation })
            {
                state.tokens.removeAll { $0.generation == rejected.generation }
                state.generation += 1
            }
            return state.credential
        }
        // A first token may have ended early. What was refused when it was new needs another user.
        if challenge.scheme == "basic" ? rejections >= 1 : rejections >= 2 {
            let new = try await credentials(.init(domain: domain, rejected: refused))
            guard let new, new != refused else { return false }
            state.withLock { state in
                (state.credential, state.hasAsked, state.tokens) = (new, true, [])
                state.generation += 1
            }
            return true
        }
        if challenge.scheme == "basic" {
            guard case .password = try await credential() else { return false }
        }
        return true
    }

    /// The credential, asked for once.
    private func credential() async throws -> RegistryCredential? {
        if let known = state.withLock({ $0.hasAsked ? Optional.some($0.credential) : nil }) { return known }
        let credential = try await credentials(.init(domain: domain, rejected: nil))
        return state.withLock { state in
            if !state.hasAsked { (state.credential, state.hasAsked) = (credential, true) }
            return state.credential
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
        let credential = try await credential()
        let started = ContinuousClock.now
        let prefersGet = state.withLock { $0.prefersGet }
        var response: IncomingResponse
        switch credential {
        case .identityToken(let token):
            let form = [("grant_type", "refresh_token"), ("refresh_token", token.exposed)]
            response = try await post(form, to: url, service, scopes)
        case .password(let user, let password) where !prefersGet:
            let form = [("grant_type", "password"), ("username", user), ("password", password.exposed)]
            response = try await post(form, to: url, service, scopes)
            if [400, 401, 404, 405].contains(response.status.code) {
                await response.discard()
                response = try await get(url, service, scopes, credential)
                if response.status.code == 200 { state.withLock { $0.prefersGet = true } }
            }
        default: response = try await get(url, service, scopes, credential)
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
            return Authorization(header: Secret("Bearer " + answer.token.exposed), generation: state.generation)
        }
    }

    /// What to do about a refusal.
    func advice(_ credential: RegistryCredential?) -> String {
        credential == nil
            ? "; nobody is logged in: run \"docker login \(domain)\" or give credentials"
            : "; the credentials for \(domain) are not accepted or not enough"
    }

    /// What to do about a refusal of what was last tried.
    var advice: String { advice(state.withLock { $0.credential }) }

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
        var request = OutgoingRequest(.GET, try url.adding(query.map { (name: $0.0, value: $0.1) }))
        if case .password(let user, let password) = credential {
            try request.credentials.set("Authorization", Secret(basic(user, password.exposed)))
        }
        return try await transport.send(request)
    }

    private func post(
        _ form: [(name: String, value: String)], to url: ServiceURL, _ service: String?, _ scopes: AuthScopes
    ) async throws -> IncomingResponse {
        var form = form + [("client_id", "swift-build-cache"), ("scope", scopes.texts.joined(separator: " "))]
        if let service { form.append(("service", service)) }
        return try await transport.send(OutgoingRequest(posting: CredentialForm(form), to: url))
    }
}

/// What a token server says.
private struct TokenAnswer {
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
