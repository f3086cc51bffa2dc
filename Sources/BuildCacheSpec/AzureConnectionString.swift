public import BuildCacheCore

extension AzureBlobOptions {
    /// Makes options from the connection string of a storage account, as the portal and Azure's tools show it.
    ///
    /// `AccountName`, `AccountKey`, `SharedAccessSignature`, `BlobEndpoint`, `EndpointSuffix` and `DefaultEndpointsProtocol` are read, and
    /// `UseDevelopmentStorage=true` with `DevelopmentStorageProxyUri`, which is Azurite on this machine; other settings are passed over.
    ///
    /// - Parameters:
    ///   - connectionString: As in `DefaultEndpointsProtocol=https;AccountName=…;AccountKey=…`.
    ///   - container: As `container`.
    ///   - prefix: As `prefix`.
    ///   - names: As `name`.
    /// - Throws: `CacheError` `.invalidSpec`, which repeats none of the values.
    /// - Source: Azure Storage, "Configure Azure Storage connection strings".
    public init(
        connectionString: Secret<String>, container: String = "buildkit-cache", prefix: String = "",
        names: [String] = ["buildkit"]
    ) throws(CacheError) {
        let settings = try AzureConnectionString(connectionString.exposed)
        let (url, account) = try settings.account()
        self.init(
            accountURL: url, accountName: account, container: container, prefix: prefix, names: names,
            secretAccessKey: settings.key)
    }
}

/// The settings of a connection string.
private struct AzureConnectionString {
    private var settings: [String: String] = [:]
    /// Whether it stands for an emulator on this machine.
    private let isEmulator: Bool

    /// The account of every emulator, and its key, which Microsoft published.
    private static let emulatorAccount = "devstoreaccount1"
    private static let emulatorKey =
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    private static let lengthLimit = 16 << 10

    init(_ text: String) throws(CacheError) {
        guard text.utf8.count <= Self.lengthLimit else {
            throw CacheError(
                .limitExceeded,
                "the connection string has \(text.utf8.count) bytes: expected at most \(Self.lengthLimit)")
        }
        for part in text.split(separator: ";") where part.contains(where: { !$0.isWhitespace }) {
            guard let equals = part.firstIndex(of: "="), equals > part.startIndex else {
                throw Self.invalid("expected name=value, separated by ';'")
            }
            let name = part[..<equals].lowercased().filter { !$0.isWhitespace }
            guard settings.updateValue(String(part[part.index(after: equals)...]), forKey: name) == nil else {
                throw Self.invalid("\(name.quoted) stands twice in it")
            }
        }
        isEmulator = settings["usedevelopmentstorage"]?.lowercased() == "true"
    }

    private static func invalid(_ problem: String) -> CacheError {
        CacheError(.invalidSpec, "invalid connection string: \(problem)")
    }

    private subscript(_ name: String) -> String? { settings[name].flatMap { $0.isEmpty ? nil : $0 } }

    /// The key of the account.
    var key: Secret<String>? { isEmulator ? Secret(Self.emulatorKey) : self["accountkey"].map { Secret($0) } }

    /// The URL of the account, perhaps with a signature, and the account's name.
    func account() throws(CacheError) -> (url: ServiceURL, name: String?) {
        guard !isEmulator else {
            let proxy = try url("DevelopmentStorageProxyUri")
            let place = try ServiceURL(
                scheme: proxy?.scheme ?? "http", [], in: proxy?.host ?? "127.0.0.1", port: proxy?.port ?? 10_000)
            return (try place.appending("/" + Self.emulatorAccount), Self.emulatorAccount)
        }
        let name = self["accountname"]
        let endpoint = try url("BlobEndpoint")
        let base = if let endpoint { endpoint } else { try service(of: name) }
        guard name != nil || !base.hasBareHost || key == nil else {
            throw Self.invalid("expected AccountName beside AccountKey")
        }
        guard let signature = self["sharedaccesssignature"] else { return (base, name) }
        guard key == nil, base.query == nil else {
            throw Self.invalid("expected either AccountKey or SharedAccessSignature, once")
        }
        do { return (try ServiceURL("\(base.base)?\(signature.drop { $0 == "?" })"), name) } catch {
            throw CacheError(.invalidSpec, "invalid SharedAccessSignature in the connection string: \(error.message)")
        }
    }

    private func service(of account: String?) throws(CacheError) -> ServiceURL {
        guard let account else { throw Self.invalid("expected AccountName or BlobEndpoint in it") }
        let scheme = self["defaultendpointsprotocol"]?.lowercased() ?? "https"
        guard ["http", "https"].contains(scheme) else {
            throw Self.invalid("expected http or https as DefaultEndpointsProtocol")
        }
        let label = try HostLabel(account, as: "AccountName", example: "myaccount")
        return try ServiceURL(
            scheme: scheme, [label], in: "blob." + (self["endpointsuffix"] ?? "core.windows.net").lowercased())
    }

    private func url(_ name: String) throws(CacheError) -> ServiceURL? {
        guard let text = self[name.lowercased()] else { return nil }
        do { return try ServiceURL(text) } catch {
            throw CacheError(.invalidSpec, "invalid \(name) in the connection string: \(error.message)")
        }
    }
}
