import BuildCacheCore

/// The text form of an option's value.
struct OptionFormat<Value: Equatable & Sendable>: Sendable {
    /// The outcome of reading a text: a value, a problem, or both.
    ///
    /// BuildKit goes on after a tolerated problem: with the value, or without one with the default.
    struct Reading {
        var value: Value?
        var problem: String?
        var isTolerated = false
    }

    var privacy = OptionKey.Privacy.open
    let text: @Sendable (Value) -> String
    /// Reads a text; problems call the option by the second argument.
    let read: @Sendable (_ text: String, _ name: String) -> Reading

    /// The same form, where BuildKit goes on with `value` if it can make nothing of the text; `nil` stands for the default.
    func tolerated(as value: Value?) -> OptionFormat {
        OptionFormat(privacy: privacy, text: text) { text, name in
            let reading = read(text, name)
            return reading.value == nil ? Reading(value: value, problem: reading.problem, isTolerated: true) : reading
        }
    }

    /// The same form without the values for which there is a `problem`, in words that follow "is".
    func refusing(
        isTolerated: Bool = false, _ problem: @escaping @Sendable (_ value: Value, _ text: String) -> String?
    ) -> OptionFormat {
        OptionFormat(privacy: privacy, text: text) { text, name in
            let reading = read(text, name)
            guard reading.problem == nil, let value = reading.value, let problem = problem(value, text) else {
                return reading
            }
            return Reading(value: value, problem: "\(name) is \(problem)", isTolerated: isTolerated)
        }
    }

    /// The same form without the empty text, which BuildKit takes for the default.
    var unlessEmpty: OptionFormat {
        OptionFormat(privacy: privacy, text: text) { text, name in
            guard text.isEmpty else { return read(text, name) }
            return Reading(problem: "\(name) is empty: remove it or give it a value", isTolerated: true)
        }
    }

    /// A form of texts of which `value` makes something; the `problem` of others follows "is".
    static func of(
        _ value: @escaping @Sendable (String) -> Value?, text: @escaping @Sendable (Value) -> String,
        orElse problem: @escaping @Sendable (String) -> String
    ) -> OptionFormat {
        OptionFormat(text: text) { text, name in
            let value = value(text)
            return Reading(value: value, problem: value == nil ? "\(name) is \(problem(text))" : nil)
        }
    }
}

extension OptionFormat<String> {
    static let any = OptionFormat(text: { $0 }, read: { text, _ in Reading(value: text) })
    static let nonEmpty = of({ $0.isEmpty ? nil : $0 }, text: { $0 }) { _ in "empty: remove it or give it a value" }
}

extension OptionFormat<Secret<String>> {
    static let secret = OptionFormat(privacy: .secret, text: \.exposed) { text, _ in Reading(value: Secret(text)) }
        .refusing(isTolerated: true) { value, _ in
            value.exposed == OptionKey.redacted
                ? "the placeholder that stands for a secret in printed specs: give the secret itself" : nil
        }.unlessEmpty
}

extension OptionFormat<ServiceURL> {
    static let url = OptionFormat(privacy: .url, text: \.exposed) { text, name in
        do throws(CacheError) { return Reading(value: try ServiceURL(text)) } catch {
            return Reading(problem: "\(name) is no URL of a service: \(error.message)")
        }
    }.unlessEmpty
}

extension OptionFormat<Reference> {
    static let reference = OptionFormat(text: \.familiar) { text, _ in
        do throws(CacheError) { return Reading(value: try Reference(text)) } catch {
            return Reading(problem: error.message)
        }
    }
}

extension OptionFormat<Digest> {
    static let digest = of({ try? Digest($0) }, text: \.description) {
        "\(OptionKey.clipped($0)): sha256: and 64 lower-case hex digits are expected"
    }
}

extension OptionFormat<[String]> {
    /// Names separated by `;`, each once and none empty.
    static let names = OptionFormat(text: { $0.joined(separator: ";") }) { text, _ in
        let names = text.utf8.split(separator: UInt8(ascii: ";"), omittingEmptySubsequences: false)
        return Reading(value: names.map { String(Substring($0)) })
    }.refusing(isTolerated: true) { names, text in
        if names.contains("") { return "\(OptionKey.clipped(text)), in which a name is empty" }
        return Set(names).count < names.count ? "\(OptionKey.clipped(text)), in which a name stands twice" : nil
    }
}

extension OptionFormat<Bool> {
    static let bool = of(GoText.bool, text: { $0 ? "true" : "false" }) { text in
        let hint = Suggestion.hint(for: text, among: ["true", "false"])
        return "\(OptionKey.clipped(text)), which is not a boolean: \(hint)write true or false"
    }

    /// A boolean that is `true` if its value is empty.
    static let `switch` = OptionFormat(text: bool.text) { text, name in
        text.isEmpty ? Reading(value: true) : bool.read(text, name)
    }
}

extension OptionFormat<Int> {
    static let integer = of({ Int(signedDecimal: $0, in: Int.min...Int.max) }, text: \.description) {
        "\(OptionKey.clipped($0)), which is not a whole number"
    }
    static let positive = integer.refusing { value, _ in value < 1 ? "\(value), it must be 1 or more" : nil }
}

extension OptionFormat<Duration> {
    /// A duration of 0 or more.
    static let duration = of(GoText.duration, text: GoText.text) {
        "\(OptionKey.clipped($0)), which is not a duration: write it as 90s, 10m or 1h30m"
    }.refusing(isTolerated: true) { value, text in
        value < .zero ? "\(OptionKey.clipped(text)), it must not be negative" : nil
    }
}

extension OptionFormat where Value: RawRepresentable<String> & CaseIterable {
    /// One of the words of a type.
    static var word: OptionFormat {
        of({ Value(rawValue: $0) }, text: \.rawValue) { text in
            let words = Value.allCases.map(\.rawValue)
            let hint = Suggestion.hint(for: text, among: words)
            return "\(OptionKey.clipped(text)): \(hint)valid are \(words.joined(separator: ", "))"
        }
    }
}
