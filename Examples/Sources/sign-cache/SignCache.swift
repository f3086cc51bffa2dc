// Signs the caches that are there, or signs them again, without moving a layer.
//
//     openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem
//     openssl pkey -in key.pem -pubout -out key.pub
//     swift run sign-cache --cache type=local,dest=.cache --sign-key key.pem
//     swift run sign-cache --cache type=local,dest=.cache --sign-key new.pem --verify-key key.pub --require-signature
//
//     type=local,dest=.cache: latest is sha256:…
import ArgumentParser
import BuildCache
import ExampleSupport

@main
struct SignCache: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sign-cache", abstract: "Signs build caches that are there, without uploading layers.")
    @Option(help: "A cache to sign, as docker buildx --cache-to takes it.") var cache: [String]
    @OptionGroup var options: SigningOptions

    func validate() throws {
        if cache.isEmpty || options.signKey == nil { throw ValidationError("--cache and --sign-key are needed") }
    }

    func run() async throws {
        try await ScratchStore.withTemporary { scratch in
            let client = try CacheClient(
                cacheTo: cache, scratch: scratch, verification: try options.verification(),
                signing: try options.signing())
            for destination in client.destinations {
                let signed = try await client.resign([destination.name])
                for (name, digest) in signed.sorted(by: { $0.key < $1.key }) {
                    print("\(destination.name): \(name) is \(digest)")
                }
            }
        }
    }
}
