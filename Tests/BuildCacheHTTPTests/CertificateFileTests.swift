import BuildCacheCore
import BuildCacheHTTP
import Foundation
import TestTools
import Testing

@Suite("A file in PEM", .timeLimit(.minutes(5)))
struct CertificateFileTests {
    /// The errors of all ways to name a file.
    private func errors(_ path: String) -> [CacheError?] {
        let own = TLSOptions.ClientCertificate(certificate: path, key: path)
        return [TLSOptions(authorities: [path]), TLSOptions(clientCertificate: own)].map { options in
            #expect(throws: CacheError.self) { try options.configuration(certificateFile: nil) }
        } + [#expect(throws: CacheError.self) { try TLSOptions.configuration(trustingOnly: path, as: "ca_bundle") }]
    }

    @Test("that is a pipe is refused, and not waited for")
    func pipe() throws {
        let folder = try TemporaryDirectory()
        let path = "\(folder.path)/pipe"
        try #require(mkfifo(path, 0o600) == 0)
        for error in errors(path) {
            #expect(error?.code == .invalidSpec)
            #expect(error?.message.contains("not a regular file") == true, "\(error?.message ?? "")")
        }
        withExtendedLifetime(folder) {}
    }

    @Test("of a TiB is refused, and not read")
    func huge() throws {
        let folder = try TemporaryDirectory()
        let path = "\(folder.path)/cert.pem"
        try Data().write(to: URL(fileURLWithPath: path))
        try #require(truncate(path, 1 << 40) == 0)
        for error in errors(path) {
            #expect(error?.code == .invalidSpec)
            #expect(error?.message.contains("expected at most 4194304") == true, "\(error?.message ?? "")")
        }
        withExtendedLifetime(folder) {}
    }
}
