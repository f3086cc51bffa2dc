public import BuildCacheCore

/// The options of `type=azblob`.
///
/// - Source: `Documentation/Spec/spec-syntax.md` §4, azblob.
public struct AzureBlobOptions: Hashable, Sendable {
    /// `account_url`: the storage account, perhaps with a shared access signature as its query.
    ///
    /// Else `BUILDKIT_AZURE_STORAGE_ACCOUNT_URL`, else that of `AZURE_STORAGE_CONNECTION_STRING` with its key, which BuildKit does not read.
    public var accountURL: ServiceURL
    /// `account_name`.
    ///
    /// Else `BUILDKIT_AZURE_STORAGE_ACCOUNT_NAME`, else the first label of the URL's host.
    public var accountName: String
    /// `container`: made if it is missing.
    ///
    /// Else `BUILDKIT_AZURE_STORAGE_CONTAINER`, else `buildkit-cache`.
    public var container: String
    /// `prefix`: joined to every name as a path.
    ///
    /// Else `BUILDKIT_AZURE_STORAGE_PREFIX`, else empty.
    public var prefix: String
    /// `manifests_prefix`: joined after ``prefix``.
    ///
    /// Default `manifests`.
    public var manifestsPrefix: String
    /// `blobs_prefix`: joined after ``prefix``.
    ///
    /// Default `blobs`.
    public var blobsPrefix: String
    /// `name`, split on `;`: an export writes and an import reads all of them.
    ///
    /// Default `buildkit`.
    public var names: [String]
    /// `secret_access_key`: the account's key in base64; `nil` for Azure's default credentials.
    public var secretAccessKey: Secret<String>?

    private static let defaultContainer = "buildkit-cache"

    /// Makes options; without `accountName`, the first label of the URL's host.
    public init(
        accountURL: ServiceURL, accountName: String? = nil, container: String = "buildkit-cache", prefix: String = "",
        manifestsPrefix: String = "manifests", blobsPrefix: String = "blobs", names: [String] = ["buildkit"],
        secretAccessKey: Secret<String>? = nil
    ) {
        self.accountURL = accountURL
        self.accountName = accountName ?? AzureBlobOptions.firstLabel(of: accountURL)
        self.container = container
        self.prefix = prefix
        self.manifestsPrefix = manifestsPrefix
        self.blobsPrefix = blobsPrefix
        self.names = names
        self.secretAccessKey = secretAccessKey
    }

    private static func firstLabel(of url: ServiceURL) -> String {
        String(url.host.prefix { $0 != "." })
    }

    init(from reader: inout AttributeReader) throws(CacheError) {
        let variable = "BUILDKIT_AZURE_STORAGE_ACCOUNT_URL"
        let connection = "AZURE_STORAGE_CONNECTION_STRING"
        var isConnected = false
        if let url = try reader.url("account_url", else: [variable]) {
            self.init(accountURL: url)
        } else if !reader.isLenient, let text = reader.environment[connection], !text.isEmpty {
            // Taken as a whole: its key and its signature belong to its own account, and to no other URL.
            do { try self.init(connectionString: Secret(text)) } catch {
                throw reader.fault("\(connection): \(error.message)")
            }
            isConnected = true
        } else {
            throw reader.missing("account_url", else: [variable, connection])
        }
        names = try reader.names("name")
        let name = try reader.nonEmpty("account_name", else: ["BUILDKIT_AZURE_STORAGE_ACCOUNT_NAME"])
        guard name != "" else { throw reader.missing("account_name", isEmpty: true) }
        accountName = name ?? accountName
        container =
            try reader.nonEmpty("container", else: ["BUILDKIT_AZURE_STORAGE_CONTAINER"])
            ?? AzureBlobOptions.defaultContainer
        prefix = try reader.string("prefix", else: ["BUILDKIT_AZURE_STORAGE_PREFIX"]) ?? ""
        manifestsPrefix = try reader.string("manifests_prefix") ?? manifestsPrefix
        blobsPrefix = try reader.string("blobs_prefix") ?? blobsPrefix
        secretAccessKey = try reader.secret("secret_access_key") ?? secretAccessKey

        // An emulator has its account in the path; BuildKit would call the account of 127.0.0.1 "127".
        try reader.refuse(
            "\"account_name\" is missing: the host \(accountURL.host.quoted) does not name the account, write account_name=…",
            when: name == nil && !isConnected && accountURL.hasBareHost)
    }

    func write(to writer: inout AttributeWriter) {
        let isImplied = !accountURL.hasBareHost && accountName == AzureBlobOptions.firstLabel(of: accountURL)
        writer.url("account_url", accountURL)
        writer.text("account_name", isImplied ? nil : accountName)
        writer.text("container", container, default: AzureBlobOptions.defaultContainer)
        writer.text("prefix", prefix, default: "")
        writer.text("manifests_prefix", manifestsPrefix, default: "manifests")
        writer.text("blobs_prefix", blobsPrefix, default: "blobs")
        writer.names("name", names)
        writer.secret("secret_access_key", secretAccessKey)
    }
}
