import BuildCacheCore
import Foundation
import Synchronization

/// Lets only those through to a registry who show what it wants to see, and hands out the tokens for it.
///
/// Each token has a time of its own, which passes with the requests that show it, so that tokens end in the middle of a push.
///
/// - Source: distribution, "Token Authentication Specification" and "OAuth 2 Token Authentication".
package final class LoginGate: Sendable {
    /// How one gets in.
    package enum Way: Sendable {
        case basic
        /// With a token, for which one shows a password; `takesPost` also by OAuth 2.
        case token(takesPost: Bool)
        /// With a token, without a password.
        case anonymousToken
    }
    /// The user and the password that are right.
    package static let user = "builder"
    package static let password = "right & secret"
    package static let refreshToken = "refresh-me"

    private struct State {
        /// Ages in seconds.
        var tokens: [String: (scopes: Set<String>, age: Int)] = [:]
        var issued = 0
        var refused = 0
        var methods: [String] = []
        var scopes: [String] = []
        /// Set when the token server listens.
        var realm = ""
    }
    private let state = Mutex(State())
    private let way: Way
    /// Seconds that a token grows older with every request that shows it.
    private let pace: Int
    /// Seconds that a token lasts.
    private let lifetime: Int
    private let inside: @Sendable (ServerRequest) async throws -> ServerResponse

    package init(
        _ way: Way, pace: Int = 0, lifetime: Int = 60,
        _ inside: @escaping @Sendable (ServerRequest) async throws -> ServerResponse
    ) {
        self.way = way
        self.pace = pace
        self.lifetime = lifetime
        self.inside = inside
    }

    /// How many tokens were handed out.
    package var issued: Int { state.withLock { $0.issued } }
    /// How often a token was shown that had ended.
    package var refused: Int { state.withLock { $0.refused } }
    /// The scopes that tokens were asked for, one by one.
    package var requestedScopes: [String] { state.withLock { $0.scopes } }
    /// How tokens were asked for.
    package var methods: [String] { state.withLock { $0.methods } }

    /// Answers at the registry's address.
    package func respond(_ request: ServerRequest) async throws -> ServerResponse {
        if request.path == "/token" { return try await token(request) }
        let authorization = request.headers["authorization"]
        switch way {
        case .basic:
            guard authorization == "Basic " + Data("\(Self.user):\(Self.password)".utf8).base64EncodedString() else {
                _ = try await request.bytes()
                return challenge("Basic realm=\"test\"")
            }
        case .token, .anonymousToken:
            let scope = wanted(request)
            let isIn = state.withLock { state -> Bool in
                guard let name = authorization?.split(separator: " ").last.map({ String($0) }),
                    authorization == "Bearer \(name)", var token = state.tokens[name]
                else { return false }
                token.age += pace
                state.tokens[name] = token
                guard token.age < lifetime else {
                    state.refused += 1
                    return false
                }
                return rights(scope).isSubset(of: token.scopes)
            }
            guard isIn else {
                _ = try await request.bytes()
                let needed = scope.sorted().joined(separator: " ")
                return challenge("Bearer realm=\"http://\(request.host)/token\",service=\"test\",scope=\"\(needed)\"")
            }
        }
        return try await inside(request)
    }

    private func challenge(_ text: String) -> ServerResponse {
        ServerResponse(
            401, headers: [("WWW-Authenticate", text)],
            json: #"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#)
    }

    /// What a token must allow for a request.
    private func wanted(_ request: ServerRequest) -> Set<String> {
        let parts = request.path.split(separator: "/").map { String($0) }
        guard let end = parts.firstIndex(where: { $0 == "blobs" || $0 == "manifests" }), end > 1 else { return [] }
        let repository = parts[1..<end].joined(separator: "/")
        let isUpload = parts.contains("uploads")
        let isReading = ["GET", "HEAD"].contains(request.method) && !isUpload
        let actions = isReading ? "pull" : request.method == "DELETE" && !isUpload ? "delete" : "pull,push"
        return ["repository:\(repository):\(actions)"]
    }

    // MARK: Tokens

    private func token(_ request: ServerRequest) async throws -> ServerResponse {
        var takesPost = false
        switch way {
        case .basic: return ServerResponse(404)
        case .token(let post): takesPost = post
        case .anonymousToken: break
        }
        var fields = request.query
        var isRight = false
        state.withLock { $0.methods.append(request.method) }
        if request.method == "POST" {
            let form = String(decoding: try await request.bytes(), as: UTF8.self)
            guard takesPost else { return ServerResponse(405) }
            for pair in form.split(separator: "&") {
                let parts = pair.split(separator: "=", maxSplits: 1).map {
                    String($0).removingPercentEncoding ?? ""
                }
                fields[parts[0]] = parts.count > 1 ? parts[1] : ""
            }
            isRight =
                fields["grant_type"] == "refresh_token"
                ? fields["refresh_token"] == Self.refreshToken
                : fields["username"] == Self.user && fields["password"] == Self.password
        } else {
            let login = Data("\(Self.user):\(Self.password)".utf8).base64EncodedString()
            isRight = request.headers["authorization"] == "Basic " + login
        }
        if case .anonymousToken = way { isRight = true }
        guard isRight, fields["service"] == "test" else {
            return ServerResponse(401, json: #"{"details":"incorrect username or password"}"#)
        }
        let scopes =
            (request.method == "POST"
            ? [fields["scope"] ?? ""] : request.parameters.filter { $0.name == "scope" }.map(\.value))
            .flatMap { $0.split(separator: " ").map { String($0) } }
        let name = state.withLock { state -> String in
            state.scopes += scopes
            state.issued += 1
            let name = "token-\(state.issued)"
            state.tokens[name] = (rights(scopes), 0)
            return name
        }
        return ServerResponse(200, json: #"{"token":"\#(name)","access_token":"\#(name)","expires_in":\#(lifetime)}"#)
    }

    /// The actions of scopes, one by one.
    private func rights(_ scopes: some Sequence<String>) -> Set<String> {
        Set(
            scopes.flatMap { scope -> [String] in
                guard let colon = scope.lastIndex(of: ":") else { return [scope] }
                return scope[scope.index(after: colon)...].split(separator: ",").map { "\(scope[...colon])\($0)" }
            })
    }
}
