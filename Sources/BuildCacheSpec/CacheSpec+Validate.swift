public import BuildCacheCore

extension CacheSpec {
    /// Checks a spec made in Swift as strictly as one that was parsed.
    ///
    /// - Throws: `CacheError` `.invalidSpec` that names the option, also for values that no text can say, such as a `;` in a name.
    public func validate() throws(CacheError) {
        var reader = AttributeReader(
            type: type, direction: direction, environment: .empty, isLenient: false,
            attributes: Dictionary(attributes.map { ($0.key.name, $0.text) }) { first, _ in first })
        try reader.checkKeys()
        try backend.options?.validate(&reader)
        try export?.validate(&reader)
    }

    /// Checks the exports of one build: each by itself, and that no two write to the same place.
    ///
    /// Places are compared after normalisation, so `app` and `docker.io/library/app:latest` are one.
    ///
    /// - Throws: `CacheError` `.invalidSpec`.
    /// - Source: `Documentation/Spec/spec-syntax.md` §5, `Documentation/Spec/pitfalls.md` 34.
    public static func validate(exports: [CacheSpec]) throws(CacheError) {
        var writers: [[String]: Int] = [:]
        for (index, spec) in exports.enumerated() {
            let context = CacheError.Context(backend: spec.type.rawValue, operation: "parse", subject: "cache-to")
            guard spec.direction == .export else {
                throw CacheError(.invalidSpec, "cache \(index + 1) of the exports is one to import", context: context)
            }
            try spec.validate()
            for place in spec.places {
                if let other = writers.updateValue(index, forKey: place) {
                    let shown = place.dropFirst().filter { !$0.isEmpty }.joined(separator: " ")
                    throw CacheError(
                        .invalidSpec,
                        "exports \(other + 1) and \(index + 1) write to the same place\(shown.isEmpty ? "" : ", \(shown.quoted)"): remove one",
                        context: context)
                }
            }
        }
    }

    /// The imports without those that read what an earlier one reads: the same reference, or all options equal.
    public static func removingDuplicates(imports: [CacheSpec]) -> [CacheSpec] {
        var references: Set<Reference> = []
        var others: Set<CacheSpec> = []
        return imports.filter { spec in
            guard case .registry(let options) = spec.backend else { return others.insert(spec).inserted }
            return references.insert(options.ref).inserted
        }
    }

    /// Every name this export publishes, normalised so that equal places are equal here.
    private var places: [[String]] {
        switch backend {
        case .inline: return [["inline"]]
        case .registry(let options):
            let ref = options.ref
            return [
                ["registry", ref.domain.lowercased() + "/" + ref.path, ref.tag ?? "", ref.digest?.description ?? ""]
            ]
        case .local(let options): return [["local", cleaned(options.dest ?? ""), options.tag]]
        case .gha(let options): return [["gha", cleaned(options.service?.url.base ?? ""), options.scope]]
        case .s3(let options):
            let service = cleaned(options.endpointURL?.base ?? "")
            return options.names.map { ["s3", service, options.bucket, options.prefix + options.manifestsPrefix + $0] }
        case .azblob(let options):
            let account = cleaned(options.accountURL.base + "/" + options.accountName)
            return options.names.map { name in
                let path = [options.prefix, options.manifestsPrefix, name].filter { !$0.isEmpty }.joined(separator: "/")
                return ["azblob", account, options.container, cleaned(path)]
            }
        }
    }

    /// A path without doubled slashes, `.` and `..`, by its text alone.
    private func cleaned(_ path: String) -> String {
        let isAbsolute = path.utf8.first == UInt8(ascii: "/")
        var parts: [Substring] = []
        for part in path.utf8.split(separator: UInt8(ascii: "/")).map({ Substring($0) }) where part != "." {
            if part == "..", let last = parts.last, last != ".." {
                parts.removeLast()
            } else if part != ".." || !isAbsolute {
                parts.append(part)
            }
        }
        return (isAbsolute ? "/" : "") + parts.joined(separator: "/")
    }
}
