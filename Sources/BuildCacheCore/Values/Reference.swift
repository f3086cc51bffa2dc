/// Where an image or cache lives in a registry: a repository with a tag, a digest or both, normalised as Docker does.
///
/// `app` is `docker.io/library/app:latest`, `user/app` is `docker.io/user/app:latest`, and `localhost/app` is on `localhost`.
/// Two texts for one place are equal here, which is what makes duplicate destinations visible.
///
/// - Source: distribution `reference/normalize.go` and `reference/regexp.go`; `Documentation/Spec/backends.md` §1.1.
public struct Reference: Hashable, Sendable {
    /// The registry's host, with its port if one was written.
    ///
    /// Docker Hub is `docker.io`.
    public let domain: String
    /// The repository in that registry, as in `library/app`: at most 255 characters, lower case.
    public let path: String
    /// The tag: at most 128 characters.
    ///
    /// `latest` when neither tag nor digest were written, `nil` when only a digest was.
    public let tag: String?
    /// The digest.
    ///
    /// Beside a tag it decides what is read.
    public let digest: Digest?

    private static let hub = "docker.io"

    private init(domain: String, path: String, tag: String?, digest: Digest?) {
        self.domain = domain
        self.path = path
        self.tag = tag
        self.digest = digest
    }

    /// Parses `[domain/]path[:tag][@digest]`.
    ///
    /// - Throws: ``CacheError`` `.invalidSpec`; `.unsupported` for a digest of another algorithm than sha256.
    public init(_ text: some StringProtocol) throws(CacheError) {
        let text = String(text)
        func invalid(_ problem: String) -> CacheError {
            CacheError(.invalidSpec, "\(Reference.hidingUserInfo(text).quoted) is no image reference: \(problem)")
        }
        guard !text.isEmpty else { throw invalid("it is empty") }
        guard text.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
            throw invalid("it has spaces, control characters or letters outside ASCII")
        }
        guard !text.contains("://") else { throw invalid("it is a URL, write host/repository:tag") }
        guard !Reference.isImageID(text) else { throw invalid("it is an image ID, name a repository") }

        // From the right, because only there the separators are unambiguous: `localhost:5000/app:v1@sha256:…`.
        var name = text[...]
        var digest: Digest?
        if let at = name.firstIndex(of: "@") {
            do { digest = try Digest(name[name.index(after: at)...]) } catch  where error.code == .unsupported {
                throw error
            } catch { throw invalid("after \"@\" sha256: and 64 lower-case hex digits are expected") }
            name = name[..<at]
        }
        var tag: String?
        let lastSlash = name.lastIndex(of: "/") ?? name.startIndex
        if let colon = name[lastSlash...].lastIndex(of: ":") {
            let written = name[name.index(after: colon)...]
            guard Reference.isTag(written) else {
                throw invalid(
                    "a tag is 1 to 128 letters, digits, '_', '.' and '-', and begins with neither '.' nor '-'")
            }
            tag = String(written)
            name = name[..<colon]
        }

        var (domain, path) = Reference.split(name)
        if domain == "index.docker.io" { domain = Reference.hub }
        if domain == Reference.hub, !path.contains("/") { path = "library/" + path }
        guard Reference.isDomain(domain) else { throw invalid("\(domain.quoted) is no host name") }
        guard !path.utf8.contains(where: { (65...90).contains($0) }) else {
            throw invalid("the repository must be lower case, as in \(path.lowercased().quoted)")
        }
        guard path.utf8.count <= 255 else { throw invalid("the repository is longer than 255 characters") }
        guard path.split(separator: "/", omittingEmptySubsequences: false).allSatisfy(Reference.isPathComponent) else {
            throw invalid(
                "a repository is words of lower-case letters and digits, joined by '/', '.', '_', '__' or '-'")
        }
        self.init(domain: domain, path: path, tag: tag ?? (digest == nil ? "latest" : nil), digest: digest)
    }

    /// Domain and path, without tag and digest.
    public var name: String { domain + "/" + path }

    /// The host that answers the registry's API: `registry-1.docker.io` for Docker Hub, else ``domain``.
    public var apiHost: String { domain == Reference.hub ? "registry-1.docker.io" : domain }

    /// The shortest text that parses to this reference, as in `app` or `user/app:cache`.
    public var familiar: String {
        let suffix = (tag == nil || (tag == "latest" && digest == nil) ? "" : ":" + (tag ?? "")) + digestSuffix
        guard domain == Reference.hub else { return name + suffix }
        // Some names need their domain: `docker.io/localhost/app` without it would be on localhost.
        for prefix in ["library/", ""] where path.hasPrefix(prefix) {
            let candidate = path.dropFirst(prefix.count) + suffix
            if let parsed = try? Reference(candidate), parsed == self { return String(candidate) }
        }
        return name + suffix
    }

    // MARK: Grammar

    private var digestSuffix: String { digest.map { "@\($0)" } ?? "" }

    /// Whether the first component is a host is a guess that Docker made once and everybody keeps.
    private static func split(_ name: Substring) -> (domain: String, path: String) {
        guard let slash = name.firstIndex(of: "/") else { return (hub, String(name)) }
        let first = name[..<slash]
        let isHost = first == "localhost" || first.utf8.contains { [46, 58].contains($0) || (65...90).contains($0) }
        return isHost ? (String(first), String(name[name.index(after: slash)...])) : (hub, String(name))
    }

    private static func isImageID(_ text: String) -> Bool {
        text.utf8.count == 64 && text.utf8.allSatisfy { isDigit($0) || (97...102).contains($0) }
    }

    private static func isTag(_ text: Substring) -> Bool {
        guard (1...128).contains(text.utf8.count), let first = text.utf8.first else { return false }
        func isWord(_ byte: UInt8) -> Bool { isDigit(byte) || isLetter(byte) || byte == UInt8(ascii: "_") }
        return isWord(first)
            && text.utf8.allSatisfy { isWord($0) || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-") }
    }

    /// Words of `a-z0-9` joined by one `.`, one or two `_`, or any number of `-`.
    private static func isPathComponent(_ text: Substring) -> Bool {
        var separator: [UInt8] = []
        var needsWord = true
        for byte in text.utf8 {
            if isDigit(byte) || (97...122).contains(byte) {
                let isJoint = separator.isEmpty || separator == [46] || separator == [95] || separator == [95, 95]
                guard isJoint || separator.allSatisfy({ $0 == 45 }) else { return false }
                separator = []
                needsWord = false
            } else {
                guard [45, 46, 95].contains(byte), !needsWord || !separator.isEmpty else { return false }
                separator.append(byte)
                needsWord = true
            }
        }
        return !needsWord
    }

    private static func isDomain(_ text: String) -> Bool {
        var host = text[...]
        if let colon = host.lastIndex(of: ":"), !host.hasSuffix("]") {
            let port = host[host.index(after: colon)...]
            guard !port.isEmpty, port.utf8.allSatisfy(isDigit) else { return false }
            host = host[..<colon]
        }
        if host.hasPrefix("["), host.hasSuffix("]"), host.utf8.count > 2 {
            return host.dropFirst().dropLast().utf8.allSatisfy {
                isDigit($0) || (97...102).contains($0) || (65...70).contains($0) || $0 == UInt8(ascii: ":")
            }
        }
        return host.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { label in
            guard let first = label.utf8.first, let last = label.utf8.last else { return false }
            let dash = UInt8(ascii: "-")
            return first != dash && last != dash && label.utf8.allSatisfy { isDigit($0) || isLetter($0) || $0 == dash }
        }
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (48...57).contains(byte) }
    private static func isLetter(_ byte: UInt8) -> Bool { (65...90).contains(byte) || (97...122).contains(byte) }

    /// `text` without what stands before an `@`, unless a digest follows it: somebody may have written `user:password@host/app`.
    package static func hidingUserInfo(_ text: String) -> String {
        let candidates = text.utf8.indices.filter {
            text.utf8[$0] == UInt8(ascii: "@") && !text.utf8[$0...].starts(with: "@sha".utf8)
        }
        guard let at = candidates.last else { return text }
        return "<redacted>" + text[at...]
    }
}

extension Reference: CustomStringConvertible {
    /// The whole reference, as in `docker.io/library/app:latest`.
    public var description: String { name + (tag.map { ":" + $0 } ?? "") + digestSuffix }
}
