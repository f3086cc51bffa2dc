import BuildCacheAzure
import BuildCacheCore
import BuildCacheHTTP

/// Shared access signatures: made, and checked.
///
/// - Source: Azure Storage REST API, "Create a service SAS", "Create an account SAS", from version 2020-12-06 on.
struct BlobSignature {
    let key: SharedKey

    /// Why a signed request is refused.
    enum Refusal: Error {
        case invalid(String)
        case expired
        case notPermitted
    }

    /// The parameters that let whoever has them do `permissions` on one blob, or with `nil` on all of a container.
    func parameters(
        container: String, blob: String?, permissions: String, expires: Timestamp
    ) -> [(name: String, value: String)] {
        let end = "\(Timestamp(seconds: expires.seconds) ?? expires)"
        var fields = ["sp": permissions, "se": end, "sv": "2021-12-02", "sr": blob == nil ? "c" : "b"]
        let resource = "/blob/\(key.account)/\(container)" + (blob.map { "/" + $0 } ?? "")
        fields["sig"] = key.signature(of: serviceText(fields, resource: resource))
        return fields.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }

    /// Checks the parameters of a request.
    ///
    /// - Parameters:
    ///   - permission: What the request needs, any one of these letters.
    ///   - blob: `nil` for requests about the container.
    func check(
        _ query: [String: String], container: String, blob: String?, permission: String, now: Timestamp
    ) throws(Refusal) {
        let isAccount = query["srt"] != nil
        let text: String
        if isAccount {
            let names = ["sp", "ss", "srt", "st", "se", "sip", "spr", "sv", "ses"]
            text = ([key.account] + names.map { query[$0] ?? "" }).joined(separator: "\n") + "\n"
            guard query["ss"]?.contains("b") == true else { throw .notPermitted }
            guard query["srt"]?.contains(blob == nil ? "c" : "o") == true else { throw .notPermitted }
        } else {
            switch query["sr"] {
            case "b": text = serviceText(query, resource: "/blob/\(key.account)/\(container)/\(blob ?? "")")
            case "c": text = serviceText(query, resource: "/blob/\(key.account)/\(container)")
            default: throw .invalid("sr is neither b nor c")
            }
        }
        guard key.signature(of: text) == query["sig"] else { throw .invalid("the signature is another one") }
        if let start = query["st"], let time = try? Timestamp(start), time > now { throw .invalid("it is too early") }
        guard let end = query["se"], let time = try? Timestamp(end.contains("T") ? end : end + "T00:00:00Z") else {
            throw .invalid("se is no time")
        }
        guard now < time else { throw .expired }
        guard let allowed = query["sp"], permission.contains(where: { allowed.contains($0) }) else {
            throw .notPermitted
        }
    }

    private func serviceText(_ query: [String: String], resource: String) -> String {
        func value(_ name: String) -> String { query[name] ?? "" }
        return [
            value("sp"), value("st"), value("se"), resource, value("si"), value("sip"), value("spr"), value("sv"),
            value("sr"), value("snapshot"), value("ses"), value("rscc"), value("rscd"), value("rsce"), value("rscl"),
            value("rsct"),
        ].joined(separator: "\n")
    }
}
