import BuildCacheCore
import BuildCacheSpec
import Testing

@testable import BuildCacheAzure

@Suite("The name of a blob in Azure")
struct AzureNamesTests {
    private static let digest = Digest(of: [])

    @Test(
        "is joined of its prefixes as a path",
        arguments: [
            ("", "blobs", "blobs/"), ("a", "blobs", "a/blobs/"), ("a/", "/b//c/", "a/b/c/"), ("/a", "b", "/a/b/"),
            ("a/./b", "../c", "a/c/"), ("..", "b", "../b/"), ("/..", "b", "/b/"), ("a", "..", ""), ("", "", ""),
        ])
    func joined(_ prefix: String, _ blobsPrefix: String, _ expected: String) throws {
        let options = AzureBlobOptions(
            accountURL: try ServiceURL("https://acct.blob.core.windows.net"), prefix: prefix, manifestsPrefix: "m",
            blobsPrefix: blobsPrefix)
        let names = AzureNames(options)
        #expect(names.blob(Self.digest) == "\(expected)\(Self.digest)")
        #expect(options.accountName == "acct")
    }

    @Test(
        "is one segment of the URL, written as Go writes it",
        arguments: [
            ("a/b", "a%2Fb"), ("sha256:0", "sha256:0"), ("a b+c", "a%20b+c"), ("ü", "%C3%BC"), ("$&=@~-._", "$&=@~-._"),
            ("?#%", "%3F%23%25"), (",;", "%2C%3B"),
        ])
    func escaped(_ name: String, _ segment: String) {
        #expect(name.pathSegmentEncoded == segment)
    }
}
