import BuildCache
import ExampleSupport

/// The signatures of a cache, to print.
struct SignatureList: Encodable {
    struct Row: Encodable {
        var name: String
        var document: String
        var isGood: Bool
        /// The signer of a good signature, or why another one is refused.
        var verdict: String
        var signedName: String?
        var signedAt: String?
        var sequence: Int64?
    }
    var rows: [Row]

    init(of spec: String, by policy: VerificationPolicy, scratch: ScratchStore) async throws {
        let backend = try CacheSpec(spec, for: .import).makeImporter(scratch: scratch)
        guard let backend = backend as? any StoredCache else {
            throw CacheError(.unsupported, "this cache has no signatures of its own")
        }
        rows = try await backend.listSignatures(verification: policy).map { signature in
            var row = Row(
                name: signature.name, document: signature.document.description, isGood: false, verdict: "",
                signedName: signature.claims?.name, signedAt: signature.claims?.signedAt.description,
                sequence: signature.claims?.sequence)
            switch signature.verdict {
            case .good(let signer): (row.isGood, row.verdict) = (true, signer)
            case .refused(let reason): row.verdict = reason
            @unknown default: row.verdict = "unknown"
            }
            return row
        }
    }

    var text: String {
        if rows.isEmpty { return "the cache has no signatures" }
        return rows.map { row in
            let claims =
                row.sequence.map { "\(plain(row.signedName ?? "")) #\($0) at \(row.signedAt ?? "")" } ?? "no claims"
            return
                "\(plain(row.name)) \(row.document.prefix(19)): \(row.isGood ? "good, by" : "refused:") \(plain(row.verdict)); \(claims)"
        }.joined(separator: "\n")
    }
}
