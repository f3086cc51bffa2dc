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

    /// Makes options; without `accountName`, the first label of the URL's host.
    public init(
        accountURL: ServiceURL, accountName: String? = nil, container: String = "buildkit-cache", prefix: String = "",
        manifestsPrefix: String = "manifests", blobsPrefix: String = "blobs", names: [String] = ["buildkit"],
        secretAccessKey: Secret<String>? = nil
    ) {
        self.accountURL = accountURL
        self.accountName = accountName ?? String(accountURL.host.prefix { $0 != "." })
        self.container = container
        self.prefix = prefix
        self.manifestsPrefix = manifestsPrefix
        self.blobsPrefix = blobsPrefix
        self.names = names
        self.secretAccessKey = secretAccessKey
    }
}

extension AzureBlobOptions: OptionTable {
    static let table: [Option<AzureBlobOptions>] = [
        Option(
            \.accountURL, .both("account_url", else: ["BUILDKIT_AZURE_STORAGE_ACCOUNT_URL"], isRequired: true), .url),
        Option(\.accountName, .both("account_name", else: ["BUILDKIT_AZURE_STORAGE_ACCOUNT_NAME"]), .nonEmpty),
        Option(
            \.container, .both("container", else: ["BUILDKIT_AZURE_STORAGE_CONTAINER"]), .nonEmpty.tolerated(as: "")),
        Option(\.prefix, .both("prefix", else: ["BUILDKIT_AZURE_STORAGE_PREFIX"]), .any),
        Option(\.manifestsPrefix, .both("manifests_prefix"), .any),
        Option(\.blobsPrefix, .both("blobs_prefix"), .any),
        Option(\.names, .both("name"), .names),
        Option(\.secretAccessKey, .both("secret_access_key"), .secret),
    ]

    /// The same account, and a name that only the host of a service says: with a bare host the name is always written.
    var defaults: AzureBlobOptions {
        AzureBlobOptions(accountURL: accountURL, accountName: accountURL.hasBareHost ? "" : nil)
    }

    init(from reader: inout AttributeReader) throws(CacheError) {
        let variable = "AZURE_STORAGE_CONNECTION_STRING"
        if !reader.isLenient, !reader.isGiven("account_url"), let text = reader.environment[variable], !text.isEmpty {
            // Taken only without another URL: its key and its signature belong to its own account.
            do { reader.fill(in: try AzureBlobOptions(connectionString: Secret(text)).attributes) } catch {
                throw reader.fault("\(variable): \(error.message)")
            }
        }
        guard reader.isGiven("account_url") else { throw reader.missing("account_url", orSet: [variable]) }
        self.init(accountURL: try reader.required("account_url", .url))
        try read(from: &reader)
    }

    func check(_ reader: inout AttributeReader) throws(CacheError) {
        // An emulator has its account in the path; BuildKit would call the account of 127.0.0.1 "127".
        try reader.refuse(
            "\"account_name\" is missing: the host \(accountURL.host.quoted) does not name the account, write account_name=…",
            when: accountURL.hasBareHost && !reader.isGiven("account_name"))
    }
}
