import BuildCacheCore

/// What a runner's token says about itself: which scopes it may read and write, and from when until when.
///
/// Its signature is not looked at: only the service has the key, and it decides.
///
/// - Source: `Documentation/Spec/backends.md` §4.1; RFC 7519.
struct RunnerToken: Sendable {
    /// A namespace of entries, as `refs/heads/main`.
    struct Scope: Hashable, Sendable {
        var name: String
        var isReadable: Bool
        var isWritable: Bool
    }

    /// What is sent.
    let text: Secret<String>
    /// In the token's order.
    let scopes: [Scope]
    let notBefore: Timestamp
    let expires: Timestamp

    /// Reads a JSON Web Token.
    ///
    /// - Throws: `CacheError` `.invalidSpec` for what is no runner's token; never with its words.
    init(_ text: Secret<String>) throws(CacheError) {
        let parts = text.exposed.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3, let claims = Base64.decodeForURL(parts[1].utf8) else {
            throw RunnerToken.invalid("it is no JSON Web Token")
        }
        var access: String?
        var start: Timestamp?
        var end: Timestamp?
        do {
            try JSONReader.read(claims, as: "token") { reader throws(CacheError) in
                guard try reader.beginObject() else { return }
                while let key = try reader.nextKey() {
                    switch key {
                    case "ac": access = try reader.string()
                    case "nbf": start = Timestamp(seconds: try reader.seconds())
                    case "exp": end = Timestamp(seconds: try reader.seconds())
                    default: try reader.skipValue()
                    }
                }
            }
        } catch { throw RunnerToken.invalid("its claims are no JSON of the expected kind") }
        guard let access else { throw RunnerToken.invalid("it names no scopes (ac)") }
        guard let start, let end else { throw RunnerToken.invalid("it does not say when it is valid (nbf, exp)") }
        self.text = text
        scopes = try RunnerToken.readScopes(access)
        notBefore = start
        expires = end
    }

    /// The scopes, which are JSON inside a string of the JSON.
    private static func readScopes(_ text: String) throws(CacheError) -> [Scope] {
        var scopes: [Scope] = []
        do {
            try JSONReader.read(Array(text.utf8), as: "scopes") { reader throws(CacheError) in
                guard try reader.beginArray() else { return }
                while try reader.nextElement() {
                    var name = ""
                    var permission: Int64 = 0
                    guard try reader.beginObject() else { continue }
                    while let key = try reader.nextKey() {
                        switch key {
                        case "Scope": name = try reader.string() ?? ""
                        case "Permission": permission = try reader.integer()
                        default: try reader.skipValue()
                        }
                    }
                    scopes.append(Scope(name: name, isReadable: permission & 1 != 0, isWritable: permission & 2 != 0))
                }
            }
        } catch { throw invalid("its scopes (ac) are no JSON of the expected kind") }
        return scopes
    }

    private static func invalid(_ problem: String) -> CacheError {
        CacheError(
            .invalidSpec, "token is no runner's token: \(problem); use ACTIONS_RUNTIME_TOKEN as the runner sets it")
    }

    // MARK: Use

    /// Throws `CacheError` `.denied` unless the token is valid at `now`.
    func check(_ now: Timestamp) throws(CacheError) {
        guard notBefore <= now else {
            throw CacheError(
                .denied, "the runner's token is valid from \(notBefore) on, and here it is \(now): check the clock")
        }
        guard now < expires else {
            throw CacheError(
                .denied, "the runner's token ended at \(expires), and here it is \(now): it lasts as long as the job")
        }
    }

    /// Where an export goes: the last scope that may be written, as BuildKit has it.
    var writeScope: Scope? { scopes.last { $0.isWritable } }

    /// Where an import looks, the most specific first.
    ///
    /// What a job may write is its own branch; the others are those it came from.
    var readScopes: [Scope] {
        let readable = scopes.filter { $0.isReadable }
        let own = readable.filter { $0.isWritable }
        return own.reversed() + readable.filter { !$0.isWritable }
    }
}

extension JSONReader {
    /// Seconds since 1970, perhaps with a fraction, which is cut.
    fileprivate mutating func seconds() throws(CacheError) -> Int64 {
        let text = String(decoding: try skipValue(), as: UTF8.self)
        guard let value = Double(text), value.magnitude < 1e12 else { throw invalid("a time is no number") }
        return Int64(value)
    }
}
