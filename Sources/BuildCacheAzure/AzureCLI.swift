import BuildCacheCore
import BuildCacheSpec
import Subprocess

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif
#if canImport(System)
    import System
#else
    import SystemPackage
#endif

/// The identity of whoever logged in with `az login`.
struct AzureCLI: Sendable {
    private let environment: BuildCacheSpec.Environment

    private static let outputLimit = 1 << 20

    init(_ environment: BuildCacheSpec.Environment) { self.environment = environment }

    /// A token, or `nil` if `az` is not installed or nobody is logged in.
    func token() async throws -> AzureToken? {
        let folders = (environment["PATH"] ?? "").split(separator: ":")
        guard let path = folders.map({ $0 + "/az" }).first(where: { isExecutable($0) }) else { return nil }
        do {
            let result = try await Subprocess.run(
                .path(FilePath(path)),
                arguments: ["account", "get-access-token", "-o", "json", "--resource", AzureCredentials.resource],
                output: .bytes(limit: AzureCLI.outputLimit), error: .string(limit: 64 << 10))
            guard case .exited(0) = result.terminationStatus else {
                let said = result.standardError.split(whereSeparator: \.isWhitespace).joined(separator: " ")
                if said.contains("az login") { return nil }
                throw CacheError(.denied, "az gives no token for storage: \(said.prefix(300))")
            }
            return try AzureToken(answer: result.standardOutput, now: .now())
        } catch let error as CacheError {
            throw error
        } catch {
            try Task.checkCancellation()
            throw CacheError(.unavailable, "az cannot be run: \(error)", cause: error)
        }
    }

    private func isExecutable(_ path: String) -> Bool { access(path, X_OK) == 0 }
}
