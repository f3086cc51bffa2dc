import BuildCache
import Synchronization
import Testing

@Suite("A server that is not there", .timeLimit(.minutes(10)))
struct ConnectionRefusedTests {
    /// No server of a test listens at port 1.
    private static let specs = [
        "type=registry,ref=127.0.0.1:1/cache:main",
        "type=s3,bucket=b,region=us-east-1,endpoint_url=http://127.0.0.1:1,use_path_style=true,access_key_id=a,secret_access_key=b",
        "type=azblob,account_url=http://127.0.0.1:1,account_name=a,secret_access_key=AAAA",
        // A token with the claims {"nbf":0,"exp":4102444800,"ac":"[{\"Scope\":\"refs/heads/main\",\"Permission\":3}]"}.
        "type=gha,version=1,url=http://127.0.0.1:1/,token=e30.eyJuYmYiOjAsImV4cCI6NDEwMjQ0NDgwMCwiYWMiOiJbe1wiU2NvcGVcIjpcInJlZnMvaGVhZHMvbWFpblwiLFwiUGVybWlzc2lvblwiOjN9XSJ9.c2ln",
    ]

    @Test(
        "is said to be that by every backend, with its host and port, after a few tries of which each is told",
        arguments: specs)
    func isSaid(_ text: String) async throws {
        try await ScratchStore.withTemporary { scratch in
            let spec = try CacheSpec(text, for: .import, environment: .empty)
            let backend = try spec.makeImporter(scratch: scratch)
            let waits = Mutex<[String]>([])
            let error = await #expect(throws: CacheError.self) {
                _ = try await backend.importCache(
                    progress: ProgressSink { event in
                        if case .waiting(_, let reason) = event { waits.withLock { $0.append(reason) } }
                    })
            }
            let cause = error?.cause as? ConnectionRefused
            #expect(cause?.host == "127.0.0.1" && cause?.port == 1, "\(error.debugDescription)")
            #expect(error?.code == .unavailable)
            #expect(error?.message.contains("127.0.0.1:1 refused the connection; start the server") == true)
            #expect((1...6).contains(waits.withLock { $0.count }))
        }
    }
}
