import BuildCacheCore
import BuildCacheSpec
import TestTools
import Testing

@Suite("A rendered spec")
struct RoundTripTests {
    @Test(
        "is as short as can be",
        arguments: [
            ("type=registry,ref=docker.io/library/app:latest", "app"),
            ("type=registry,ref=user/app:cache,mode=min", "user/app:cache"),
            ("type=registry,ref=app,mode=max", "type=registry,ref=app,mode=max"), ("type=inline", "type=inline"),
            ("mode=max,dest=out,type=local,tag=latest,reset=0", "type=local,dest=out,mode=max"),
            (
                "type=local,dest=out,oci-mediatypes=false,image-manifest=false",
                "type=local,dest=out,oci-mediatypes=false"
            ),
            ("type=local,dest=out,force-compression=,compression=gzip", "type=local,dest=out,force-compression=true"),
            ("type=s3,bucket=b,region=r,touch_refresh=1440m,name=buildkit", "type=s3,region=r,bucket=b"),
            ("type=s3,bucket=b,region=r,touch_refresh=90m", "type=s3,region=r,bucket=b,touch_refresh=1h30m"),
            ("type=gha,token=t,url=http://a,timeout=250ms", "type=gha,url=http://a,token=<redacted>,timeout=0.25s"),
            (
                "type=azblob,account_url=https://a.net,account_name=a,container=buildkit-cache",
                "type=azblob,account_url=https://a.net"
            ),
            ("type=local,\"dest=a,b\"", "type=local,\"dest=a,b\""),
        ])
    func shortest(_ text: String, _ expected: String) throws {
        #expect(try one(text).description == expected)
    }

    @Test("parses to the spec it came from", arguments: 0..<40)
    func roundTrip(_ seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<50 {
            let spec = try generator.spec()
            try spec.validate()
            let text = spec.textExposingSecrets()
            #expect(try parse(text, spec.direction) == [spec], "\(text)")
            #expect(try parse(text, spec.direction, leniency: .lenient).first?.backend == spec.backend, "\(text)")
            let json = spec.jsonExposingSecrets()
            #expect(try CacheSpec.parse(json: json, for: spec.direction, environment: .empty) == [spec], "\(json)")
            #expect(try parse(text, spec.direction).first?.textExposingSecrets() == text)
        }
    }
}

@Suite("Hostile input")
struct HostileInputTests {
    /// Pieces that get further into the parser than noise does.
    private static let pieces = [
        "type=", "registry", "local", "s3", "gha", "azblob", "inline", "ref=", "dest=", "src=", "token=", "url=http://",
        "account_url=https://",
        "name=", "timeout=", "touch_refresh=", "compression-level=", "mode=max", ",", "=", "\"", "\"\"", ";", "@", ":",
        "/", "?", "[", "]",
        "sha256:", "\n", "\r\n", "\u{0}", "\u{301}", "é", "👩‍👩‍👧", "-", ".", "1", "9999999999999999999999", "h", "1e9s",
        "{", "}", "\\u", "\\ud800", "<redacted>",
    ]

    @Test("never gets the parser to fail in another way than with an error", arguments: 0..<8)
    func neverCrashes(_ seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<300 {
            var text = ""
            for _ in 0..<Int.random(in: 0..<14, using: &generator) {
                if Bool.random(using: &generator) {
                    text += Self.pieces.randomElement(using: &generator) ?? ""
                } else {
                    let bytes = (0..<Int.random(in: 0..<6, using: &generator)).map { _ in
                        UInt8.random(in: 0...255, using: &generator)
                    }
                    text += String(decoding: bytes, as: UTF8.self)
                }
            }
            for direction in CacheSpec.Direction.allCases {
                for leniency in [CacheSpec.Leniency.strict, .lenient] {
                    for candidate in [text, "type=s3,bucket=b,region=r," + text, "type=local,dest=a,src=b," + text] {
                        check(candidate, direction, leniency)
                    }
                }
            }
        }
    }

    private func check(_ text: String, _ direction: CacheSpec.Direction, _ leniency: CacheSpec.Leniency) {
        for dialect in [CacheSpec.Dialect.buildx, .buildctl] {
            do {
                for spec in try CacheSpec.parse(
                    text, for: direction, environment: .empty, leniency: leniency, dialect: dialect)
                {
                    #expect(spec.direction == direction)
                    // What was parsed strictly can be written and parsed again.
                    guard leniency == .strict else { continue }
                    #expect(
                        try CacheSpec.parse(spec.textExposingSecrets(), for: direction, environment: .empty) == [spec],
                        "\(text)")
                }
            } catch {
                #expect(
                    error.message.unicodeScalars.allSatisfy { $0.properties.generalCategory != .control }, "\(text)")
            }
        }
        _ = try? CacheSpec.parse(json: text, for: direction, environment: .empty, leniency: leniency)
    }

    /// 64 KiB of the same, with a name short enough for a log.
    struct Flood: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let text: String

        init(_ prefix: String, repeating part: String) {
            testDescription = "\(prefix)\(part)\(part)…"
            text = prefix + String(repeating: part, count: (65536 - prefix.utf8.count) / part.utf8.count)
        }

        static let s3 = "type=s3,bucket=b,region=r,"
        static let all = [
            Flood("", repeating: ","), Flood("", repeating: "a,"), Flood("", repeating: "a/"),
            Flood("", repeating: "a@"),
            Flood("", repeating: ":"), Flood("", repeating: "\""), Flood("", repeating: "=,"),
            Flood("type=s3,", repeating: "a=,"),
            Flood("type=local,dest=", repeating: "../"), Flood(s3 + "name=", repeating: ";"),
            Flood(s3 + "touch_refresh=", repeating: "1s"), Flood(s3 + "touch_refresh=", repeating: "9"),
        ]
    }

    // Work that grows with the square of the length takes minutes here; what is linear, a second.
    @Test("of the greatest length is dealt with in time", .timeLimit(.minutes(10)), arguments: Flood.all)
    func greatestLength(_ flood: Flood) {
        check(flood.text, .import, .strict)
        check(flood.text, .export, .lenient)
        if let specs = try? parse(flood.text, leniency: .lenient) { _ = try? CacheSpec.validate(exports: specs) }
    }

    @Test("of thousands of unknown keys is dealt with in time", .timeLimit(.minutes(10)))
    func manyKeys() throws {
        let text = "type=local,dest=out" + (0..<6500).map { ",mod\($0)=" }.joined()
        #expect(try lenient(text).ignored.count == 6500)
    }
}

extension SeededGenerator {
    mutating func flip() -> Bool { Bool.random(using: &self) }

    mutating func pick<Value>(_ values: [Value]) -> Value { values[Int.random(in: 0..<values.count, using: &self)] }

    /// Text with all that must be quoted or escaped, at least one character of it.
    mutating func text() -> String {
        let pieces = [
            "a", "Z", "0", " ", ",", "\"", "=", ";", "/", "\\", "'", "é", "\u{301}", "☃", "<", "&", "%41", "type=",
            "\u{2028}",
        ]
        return "x" + (0..<Int.random(in: 0..<6, using: &self)).map { _ in pick(pieces) }.joined()
    }

    mutating func name() -> String { pick(["buildkit", "main", "a b", "x/y", "é", "q\"q", "k=v"]) }

    mutating func names() -> [String] {
        let names = [name(), name(), name()]
        return Array(Set(names.prefix(Int.random(in: 1...3, using: &self)))).sorted()
    }

    mutating func duration() -> Duration {
        .nanoseconds(Int64.random(in: 0...pick([9, 10_000_000_000, .max]), using: &self))
    }

    mutating func secret() -> Secret<String>? { flip() ? Secret(text()) : nil }

    mutating func url() throws -> ServiceURL {
        try ServiceURL(
            pick(["http", "https"]) + "://"
                + pick(["a.example", "127.0.0.1", "[::1]", "acct.blob.core.windows.net", "localhost"])
                + pick(["", ":1", ":65535"]) + pick(["", "/", "/a/b", "/%41,"]) + pick(["", "?sig=a%2B&x=1", "?,;="]))
    }

    mutating func reference() throws -> Reference {
        let digest = "@sha256:" + String(repeating: pick(["0", "a", "9"]), count: 64)
        return try Reference(
            pick(["", "docker.io/", "ghcr.io/", "localhost:5000/", "[::1]/"])
                + pick(["app", "user/app", "a/b/c", "a__b/c-d"])
                + pick(["", ":latest", ":v1"]) + pick(["", "", digest]))
    }

    mutating func backend(_ direction: CacheSpec.Direction) throws -> CacheSpec.Backend {
        let isExport = direction == .export
        switch pick(CacheSpec.BackendType.allCases) {
        case .inline where isExport: return .inline
        case .inline, .registry: return .registry(RegistryOptions(ref: try reference(), insecure: flip()))
        case .local where isExport:
            return .local(LocalOptions(dest: text(), tag: pick(["latest", "", "v1", text()]), reset: flip()))
        case .local:
            let digest = flip() ? Digest(of: text().utf8) : nil
            return .local(
                LocalOptions(src: text(), tag: digest == nil ? pick(["latest", text()]) : "latest", digest: digest))
        case .gha:
            let lists = isExport && flip()
            let version = pick([nil, 1, 2])
            return .gha(
                GitHubActionsOptions(
                    token: Secret(text()), url: try url(), urlV2: version != 1 && flip() ? try url() : nil,
                    version: version,
                    scope: pick(["buildkit", text()]), timeout: pick([.seconds(600), duration()]),
                    repository: lists ? text() : nil,
                    ghtoken: lists ? Secret(text()) : nil))
        case .s3:
            var options = S3Options(bucket: text(), region: text(), prefix: pick(["", text()]), names: names())
            options.manifestsPrefix = pick(["manifests/", "", text()])
            options.blobsPrefix = pick(["blobs/", "", text()])
            options.endpointURL = flip() ? try url() : nil
            options.usePathStyle = options.endpointURL != nil && flip()
            options.secretAccessKey = secret()
            options.accessKeyID = options.secretAccessKey == nil ? nil : text()
            options.sessionToken = options.secretAccessKey == nil ? nil : secret()
            options.disableAcceptEncoding = flip()
            options.retryMode = pick([nil, .standard, .adaptive])
            options.retryMaxAttempts = pick([nil, 1, .max])
            if isExport {
                options.touchRefresh = duration()
                options.uploadParallelism = pick([1, 4, .max])
            }
            return .s3(options)
        case .azblob:
            return .azblob(
                AzureBlobOptions(
                    accountURL: try url(), accountName: pick(["acct", text()]),
                    container: pick(["buildkit-cache", text()]),
                    prefix: pick(["", text()]), manifestsPrefix: pick(["manifests", text()]),
                    blobsPrefix: pick(["blobs", text()]),
                    names: names(), secretAccessKey: secret()))
        }
    }

    mutating func spec() throws -> CacheSpec {
        let direction = pick(CacheSpec.Direction.allCases)
        let backend = try backend(direction)
        guard direction == .export else { return CacheSpec(importingFrom: backend) }
        var options = ExportOptions()
        options.compression.type = pick(Compression.allCases)
        options.compression.level = options.compression.type == .uncompressed ? nil : pick([nil, -2, 0, 9])
        // An image has its layers: without force there is nothing to compress.
        options.compression.force = backend.type == .inline || flip()
        if backend.type != .inline {
            options.mode = pick(CacheMode.allCases)
            options.ignoreError = flip()
        }
        if [.registry, .local].contains(backend.type) { options.layout = pick(ManifestLayout.allCases) }
        return CacheSpec(exportingTo: backend, options)
    }
}
