import BuildCacheCore
import BuildCacheSpec
import Testing

@Suite("A connection string of Azure")
struct ConnectionStringTests {
    private static let key = "a2V5"
    private static let emulatorKey =
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

    @Test(
        "names an account, its place, and a key or a signature",
        arguments: [
            (
                "DefaultEndpointsProtocol=https;AccountName=acct;AccountKey=a2V5;EndpointSuffix=core.windows.net",
                "https://acct.blob.core.windows.net", "acct", "a2V5"
            ),
            (
                "accountname=acct; AccountKey=a2V5==;EndpointSuffix=core.chinacloudapi.cn;",
                "https://acct.blob.core.chinacloudapi.cn", "acct", "a2V5=="
            ),
            (
                "BlobEndpoint=https://acct.blob.core.windows.net/;SharedAccessSignature=?sv=1&sig=s%3D",
                "https://acct.blob.core.windows.net/?sv=1&sig=s%3D", "acct", nil
            ),
            (
                "AccountName=acct;AccountKey=a2V5;BlobEndpoint=http://127.0.0.1:10000/acct;QueueEndpoint=http://x/y",
                "http://127.0.0.1:10000/acct", "acct", "a2V5"
            ),
            (
                "UseDevelopmentStorage=true", "http://127.0.0.1:10000/devstoreaccount1", "devstoreaccount1", emulatorKey
            ),
            (
                "UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://azurite",
                "http://azurite:10000/devstoreaccount1", "devstoreaccount1", emulatorKey
            ),
        ] as [(String, String, String, String?)])
    func parts(_ text: String, _ url: String, _ account: String, _ key: String?) throws {
        let options = try AzureBlobOptions(connectionString: Secret(text), container: "c", names: ["n"])
        #expect(options.accountURL.exposed == url)
        #expect(options.accountName == account)
        #expect(options.secretAccessKey?.exposed == key)
        #expect(options.container == "c")
        #expect(options.names == ["n"])
        try CacheSpec(exportingTo: .azblob(options)).validate()
    }

    @Test(
        "that is not valid is refused without its values",
        arguments: [
            "", "hunter2", "AccountKey=hunter2", "=hunter2;AccountName=a", "AccountName=a;AccountName=hunter2",
            "AccountName=a.hunter2.example/;AccountKey=k", "AccountName=a;EndpointSuffix=evil.example/hunter2",
            "AccountName=a;EndpointSuffix=hunter2@evil.example", "AccountName=a;DefaultEndpointsProtocol=hunter2",
            "BlobEndpoint=hunter2", "BlobEndpoint=http://127.0.0.1:1/x;AccountKey=hunter2",
            "AccountName=a;AccountKey=k;SharedAccessSignature=sig=hunter2",
            "BlobEndpoint=https://a.example?sig=k;SharedAccessSignature=sig=hunter2",
            "BlobEndpoint=https://a.example;SharedAccessSignature=sig=hunter2#",
            "UseDevelopmentStorage=true;DevelopmentStorageProxyUri=hunter2",
            String(repeating: "a=hunter2;", count: 4096),
        ])
    func refused(_ text: String) {
        let error = #expect(throws: CacheError.self) { try AzureBlobOptions(connectionString: Secret(text)) }
        #expect([.invalidSpec, .limitExceeded].contains(error?.code))
        let isName = text.hasPrefix("AccountName=a.") || text.contains("EndpointSuffix")
        #expect(isName || error?.debugDescription.contains("hunter2") == false, "\(String(describing: error))")
    }

    @Test("of the environment counts where no URL is given, as a whole")
    func environment() throws {
        let variables = ["AZURE_STORAGE_CONNECTION_STRING": "AccountName=acct;AccountKey=a2V5"]
        for direction in CacheSpec.Direction.allCases {
            let options = try #require(try one("type=azblob,name=x,container=c", direction, variables).azblob)
            #expect(options.accountURL.base == "https://acct.blob.core.windows.net")
            #expect(options.secretAccessKey?.exposed == "a2V5")
            #expect(options.names == ["x"])
            #expect(options.container == "c")
        }
        // The key is not taken to a place that the spec or BuildKit's variable names.
        let url = "https://other.blob.core.windows.net"
        #expect(try one("type=azblob,account_url=\(url)", .export, variables).azblob?.secretAccessKey == nil)
        let both = variables.merging(["BUILDKIT_AZURE_STORAGE_ACCOUNT_URL": url]) { $1 }
        #expect(try one("type=azblob", .export, both).azblob?.secretAccessKey == nil)
        // BuildKit does not read it.
        refusal(of: "type=azblob", .export, variables, leniency: .lenient, mentions: "\"account_url\" is missing")
        let wrong = ["AZURE_STORAGE_CONNECTION_STRING": "AccountKey=hunter2"]
        let error = refusal(of: "type=azblob", .export, wrong, mentions: "AZURE_STORAGE_CONNECTION_STRING")
        #expect(error?.debugDescription.contains("hunter2") == false)
    }
}
