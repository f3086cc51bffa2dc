import BuildCacheCore

/// The signatures of one document as a store keeps them: one bundle per line, at most 16 lines and 256 KiB.
///
/// - Source: `Documentation/Spec/signing.md` §4.
public struct SignatureFile: Hashable, Sendable {
    /// A line: a bundle, or the reason why it cannot be read.
    @nonexhaustive
    public enum Line: Hashable, Sendable {
        /// A bundle.
        case bundle(SignatureBundle)
        /// Bytes that are not a bundle.
        case malformed(String)

        /// The bundle, if it can be read.
        public var bundle: SignatureBundle? {
            if case .bundle(let bundle) = self { bundle } else { nil }
        }
    }

    /// The most lines of a file.
    public static let maximumLines = 16

    /// The lines, oldest first.
    public var lines: [Line]
    /// The bundles that can be read.
    public var bundles: [SignatureBundle] { lines.compactMap(\.bundle) }

    /// Creates a file of bundles.
    public init(_ bundles: [SignatureBundle] = []) { lines = bundles.map { .bundle($0) } }

    /// Reads a file; a line that is not a bundle is a ``Line/malformed(_:)`` one.
    ///
    /// Past 16 lines or 256 KiB the file is one malformed line.
    public init(decoding bytes: [UInt8]) {
        guard bytes.count <= SignatureBundle.maximumBytes else {
            lines = [.malformed("the signature file has more than \(SignatureBundle.maximumBytes) bytes")]
            return
        }
        let parts = bytes.split(separator: UInt8(ascii: "\n"), maxSplits: SignatureFile.maximumLines)
        guard parts.count <= SignatureFile.maximumLines else {
            lines = [.malformed("the signature file has more than \(SignatureFile.maximumLines) lines")]
            return
        }
        lines = parts.map { part in
            do throws(CacheError) { return .bundle(try SignatureBundle(decoding: Array(part))) } catch {
                return .malformed(error.message)
            }
        }
    }

    /// A file that is one bundle, laid out on any number of lines.
    package init(bundle bytes: [UInt8]) {
        do throws(CacheError) { lines = [.bundle(try SignatureBundle(decoding: bytes))] } catch {
            lines = [.malformed(error.message)]
        }
    }

    /// The bytes of the bundles, each with a line end; malformed lines are left out.
    public var bytes: [UInt8] { bundles.flatMap { $0.bytes + [UInt8(ascii: "\n")] } }

    /// Adds signatures.
    ///
    /// A signature replaces older ones that its signer made for the same name: only the newest counts, and the file stays small. Where no
    /// room is left, the oldest lines go.
    ///
    /// - Returns: `nil` if all of them are there already.
    package func adding(_ new: [SignatureBundle]) -> SignatureFile? {
        var merged = bundles
        for bundle in new {
            merged.removeAll { $0.bytes == bundle.bytes || bundle.replaces($0) }
            merged.append(bundle)
        }
        func size() -> Int { merged.reduce(0) { $0 + $1.bytes.count + 1 } }
        while merged.count > max(new.count, 1),
            merged.count > SignatureFile.maximumLines || size() > SignatureBundle.maximumBytes
        {
            merged.removeFirst()
        }
        let file = SignatureFile(merged)
        return file.bytes == bytes ? nil : file
    }
}

extension SignatureBundle {
    /// The claims as they stand in the payload, verified or not.
    package var unverifiedClaims: SignatureClaims? {
        guard case .envelope(let envelope) = content,
            let subject = try? StatementSubject(anyIn: envelope.payload)
        else { return nil }
        return try? SignatureClaims(annotations: subject.annotations)
    }

    /// Whether a signature of another time by the same signer, for the same name, is obsolete.
    fileprivate func replaces(_ older: SignatureBundle) -> Bool {
        guard signer == older.signer, case .key(let hint) = signer, !hint.isEmpty, let mine = unverifiedClaims,
            let theirs = older.unverifiedClaims, mine.name.isExactly(theirs.name)
        else { return false }
        return (theirs.sequence, theirs.signedAt) <= (mine.sequence, mine.signedAt)
    }
}
