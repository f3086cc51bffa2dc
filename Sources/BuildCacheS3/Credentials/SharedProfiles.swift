import BuildCacheBytes
import BuildCacheCore
import NIOCore

/// The files that `aws configure` writes: profiles with settings by name.
///
/// - Source: AWS, "Configuration and credential file settings"; `Documentation/Spec/backends.md` §5.5.
struct SharedProfiles: Sendable {
    /// The settings of a profile; those of the credentials file win over those of the config file.
    private(set) var profiles: [String: [String: String]] = [:]
    /// The sections `services NAME`: the settings of each service in them.
    private(set) var services: [String: [String: [String: String]]] = [:]
    /// Settings of the profiles that stand below another one, as `addressing_style` below `s3`.
    private var nestedByProfile: [String: [String: [String: String]]] = [:]
    /// Which profile is meant.
    let selected: String
    /// Whether somebody asked for that one by name.
    let isExplicit: Bool

    /// Settings of the profile that is meant; none if there is no such profile.
    var current: [String: String] { profiles[selected] ?? [:] }
    /// Settings of that profile that stand below another one.
    var nested: [String: [String: String]] { nestedByProfile[selected] ?? [:] }

    private static let sizeLimit: Int64 = 4 << 20

    /// Reads both files; one that is not there has no profiles.
    ///
    /// - Throws: `CacheError` `.denied`, `.unavailable`, `.limitExceeded`.
    static func read(_ environment: Environment) async throws -> SharedProfiles {
        let folder = environment.first("HOME", "USERPROFILE").map { $0 + "/.aws" }
        let named = environment.first("AWS_PROFILE", "AWS_DEFAULT_PROFILE")
        var shared = SharedProfiles(selected: named ?? "default", isExplicit: named != nil)
        if let path = environment.first("AWS_CONFIG_FILE") ?? folder.map({ $0 + "/config" }) {
            shared.add(try await read(path), isConfig: true)
        }
        if let path = environment.first("AWS_SHARED_CREDENTIALS_FILE") ?? folder.map({ $0 + "/credentials" }) {
            shared.add(try await read(path), isConfig: false)
        }
        return shared
    }

    init(selected: String, isExplicit: Bool) {
        self.selected = selected
        self.isExplicit = isExplicit
    }

    /// A file as text, empty if it is not there.
    static func read(_ path: String) async throws -> String {
        do {
            let file = try await BlobStream.file(at: path)
            guard file.length ?? 0 <= sizeLimit else { throw CacheError(.limitExceeded, "\(path) is too large") }
            var bytes: [UInt8] = []
            for try await chunk in file { bytes += chunk.readableBytesView }
            return String(decoding: bytes, as: UTF8.self)
        } catch let error as CacheError where error.code == .notFound {
            return ""
        }
    }

    /// A section of a file.
    private enum Section { case profile(String), services(String), other }

    /// Takes the profiles of a file.
    ///
    /// - Parameter isConfig: Whether a section is called `profile NAME`, as all but the default one are in the config file, which has
    ///   `services NAME`, too.
    mutating func add(_ text: String, isConfig: Bool) {
        var section = Section.other
        // The setting that lines which stand further in belong to.
        var parent: String?
        for line in text.split(whereSeparator: \.isNewline) {
            let start = line.first { !$0.isWhitespace }
            guard let first = line.first, let start, start != "#", start != ";" else { continue }
            if first == "[" {
                parent = nil
                let words = line.dropFirst().prefix { $0 != "]" }.split(whereSeparator: \.isWhitespace)
                switch (isConfig, words.count) {
                case (true, 2) where words[0] == "profile": section = .profile(String(words[1]))
                case (true, 2) where words[0] == "services": section = .services(String(words[1]))
                case (true, 1) where words[0] == "default": section = .profile("default")
                case (false, 1): section = .profile(String(words[0]))
                default: section = .other
                }
                continue
            }
            guard let (name, value) = setting(line) else { continue }
            guard first.isWhitespace else {
                parent = value.isEmpty ? name : nil
                if case .profile(let profile) = section { profiles[profile, default: [:]][name] = value }
                continue
            }
            guard let parent else { continue }
            switch section {
            case .profile(let profile): nestedByProfile[profile, default: [:]][parent, default: [:]][name] = value
            case .services(let services): self.services[services, default: [:]][parent, default: [:]][name] = value
            case .other: break
            }
        }
    }

    /// The name, in lower case, and the value of a line.
    private func setting(_ line: Substring) -> (name: String, value: String)? {
        guard let equals = line.firstIndex(of: "=") else { return nil }
        var value = line[line.index(after: equals)...]
        // Comments begin behind a space.
        for mark in [" #", " ;", "\t#", "\t;"] {
            if let start = value.firstRange(of: mark) { value = value[..<start.lowerBound] }
        }
        return (line[..<equals].trimmed.lowercased(), value.trimmed)
    }
}

extension Substring {
    fileprivate var trimmed: String {
        var text = self
        while text.first?.isWhitespace == true { text.removeFirst() }
        while text.last?.isWhitespace == true { text.removeLast() }
        return String(text)
    }
}
