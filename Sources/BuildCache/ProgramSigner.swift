public import BuildCacheCore
import BuildCacheHTTP
public import BuildCacheSigning

/// A signer that is an external program, such as cosign.
///
/// The program gets its input on standard input and prints a Sigstore bundle on standard output. Any other exit status than 0 is a failure,
/// whose error has the first 4 KiB of standard error. It is started without a shell, with the environment of this process.
///
/// - Source: `Documentation/Spec/signing.md` §1.2 and §6.
public struct ProgramSigner: DocumentSigner {
    /// The input of the program.
    @nonexhaustive
    public enum Input: Hashable, Sendable {
        /// The document, as BuildKit gives it: the program signs its bytes, so the signature has no claims about name and time.
        case document
        /// The statement, which the program puts into a DSSE envelope byte for byte.
        case statement
    }

    private static let maximumErrorBytes = 4096

    /// The verifier of what the program prints.
    public let verifier: any SignatureVerifier
    private let arguments: [String]
    private let input: Input
    private let program: CredentialProgram

    /// Creates a signer.
    ///
    /// - Parameters:
    ///   - command: The program, a path or a name to look for in `PATH`, and its arguments.
    ///   - input: The input of the program.
    ///   - timeout: The longest time that the program may take; default 60 seconds.
    ///   - verifiedBy: The verifier of what it prints.
    ///   - environment: The source of `PATH`.
    /// - Throws: `CacheError` `.invalidSpec` for an empty command, or a program that does not exist.
    public init(
        _ command: [String], input: Input, timeout: Duration = .seconds(60), verifiedBy verifier: any SignatureVerifier,
        environment: Environment = .process
    ) throws(CacheError) {
        guard let name = command.first, !name.isEmpty else {
            throw CacheError(.invalidSpec, "the command of a signer is empty; give a program and its arguments")
        }
        let found =
            name.contains("/")
            ? CredentialProgram(name: name, path: name) : CredentialProgram(named: name, in: environment)
        guard var program = found else {
            throw CacheError(.invalidSpec, "no program \(name.quoted) is in PATH; give its path")
        }
        program.timeLimit = timeout
        self.program = program
        self.input = input
        self.verifier = verifier
        arguments = Array(command.dropFirst())
    }

    /// Runs the program; see ``DocumentSigner/sign(_:)``.
    ///
    /// - Throws: `CacheError` `.unavailable` if it fails or takes too long, `.untrusted` if it prints anything but one bundle, or signs
    ///   another statement; `.limitExceeded` past 256 KiB.
    public func sign(_ statement: SignedStatement) async throws -> [SignatureBundle] {
        let ending = try await program.run(
            arguments, document: input == .document ? statement.document : statement.payload)
        guard ending.isSuccess else {
            throw CacheError(
                .unavailable,
                "the signer failed with \(ending.status): \(ending.errors.clipped(toBytes: Self.maximumErrorBytes))")
        }
        let bundle = try SignatureBundle(decoding: ending.output)
        switch (input, bundle.content) {
        case (.document, .message): break
        case (.document, _): throw CacheError(.untrusted, "the signer printed a bundle without a messageSignature")
        case (.statement, .envelope(let envelope)):
            guard envelope.payload == statement.payload else {
                throw CacheError(.untrusted, "the signer signed another statement than it was given")
            }
        case (.statement, _): throw CacheError(.untrusted, "the signer printed a bundle without a dsseEnvelope")
        }
        return [bundle]
    }
}
