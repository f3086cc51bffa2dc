import BuildCacheBytes
import BuildCacheCore
import BuildCacheGraph
import BuildCacheHTTP
import BuildCacheOCI
import NIOHTTP1

// Where registries differ from their specification, and from each other.
extension RegistryRepository {
    /// A proxy in front of a registry ends TLS, and the registry believes it is spoken to in the clear.
    ///
    /// Its addresses then are `http` ones of the same host, and those of the proxy are meant.
    func upgraded(_ location: ServiceURL) throws(CacheError) -> ServiceURL {
        guard origin.base.scheme == "https", location.scheme == "http", location.host == origin.base.host,
            location.port == nil || location.port == origin.base.port
        else { return location }
        return try ServiceURL("\(origin.base.base)\(location.path)\(location.query.map { "?" + $0.exposed } ?? "")")
    }

    /// Whether the answer is that of a registry that takes no sessions or no parts, or of a proxy that lets no `PATCH` through.
    func refusesParts(_ failure: HTTPFailure) -> Bool {
        [400, 404, 405, 411, 415, 422, 501].contains(failure.status) || (failure.status == 403 && failure.code == nil)
    }

    /// Whether the answer is that of a proxy that limits the size of a request.
    func refusesSize(_ failure: HTTPFailure) -> Bool { failure.status == 413 }

    /// Refuses an export that the registry is known to refuse, before anything is sent.
    ///
    /// - Throws: `CacheError` `.unsupported` that names the option to set.
    func checkProfile(_ export: ExportOptions) throws(CacheError) {
        let profile = origin.profile
        if !profile.acceptsIndexes, export.layout != .imageManifest {
            throw CacheError(
                .unsupported, "\(origin.domain) takes no cache in the form of an index: set image-manifest=true")
        }
        if !profile.acceptsZstd, export.compression.type == .zstd {
            throw CacheError(.unsupported, "\(origin.domain) takes no zstd layers: set compression=gzip")
        }
    }

    /// Whether a manifest is refused because of what another writer is doing to a blob of it at that moment.
    ///
    /// Docker's registry reads a file that it is just writing, and takes what it finds there for a wrong digest.
    func isStale(_ failure: HTTPFailure) -> Bool { failure.code == "DIGEST_INVALID" }

    /// The refusal of a manifest, with the remedy where the registry says enough about the reason.
    func explained(_ failure: HTTPFailure, _ document: RawDocument) -> CacheError {
        let error = failure.error.adding(backend: "registry", subject: "\(document.digest)")
        if let error = nameRefusal(failure) { return error.adding(backend: "registry", subject: "\(document.digest)") }
        switch failure.code {
        case "MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN":
            return error.refused(.notFound, "the registry does not have a blob of the manifest; export again")
        case "SIZE_INVALID": return error.refused(.limitExceeded, tooLarge(document))
        case _ where failure.status == 413: return error.refused(.limitExceeded, tooLarge(document))
        // Codes for a manifest that a registry does not understand; any other code has a reason of its own.
        case nil, "UNKNOWN", "UNSUPPORTED", "MANIFEST_INVALID", "MANIFEST_UNVERIFIED": break
        default: return error
        }
        guard [400, 405, 406, 415, 422].contains(failure.status) else { return error }
        switch document.mediaType {
        case .ociIndex, .dockerManifestList:
            return error.refused(.unsupported, "many registries take no index of layers: set image-manifest=true")
        case _ where String(decoding: document.bytes, as: UTF8.self).contains("tar+zstd"):
            return error.refused(
                .unsupported,
                "a registry that does not know zstd takes compression=gzip,force-compression=true")
        default:
            return error.refused(
                .unsupported, "the registry seems to take no manifest of a cache, or none of this type")
        }
    }

    /// The refusal of a repository or a tag by its name, `nil` for any other.
    ///
    /// - Source: OCI distribution-spec 1.1, "Error Codes"; AWS, "Preventing image tags from being overwritten in Amazon ECR"; Harbor,
    ///   "Create tag immutability rules".
    func nameRefusal(_ failure: HTTPFailure) -> CacheError? {
        // Behind the request, whose URL has names that may be any word.
        let said = failure.error.message.firstRange(of: " returned ").map {
            failure.error.message[$0.upperBound...].lowercased()
        }
        let isImmutable = ["immutab", "cannot be overwritten"].contains { said?.contains($0) == true }
        switch failure.code {
        case _ where isImmutable && (400..<500).contains(failure.status):
            return failure.error.refused(
                .denied,
                "the tag cannot be overwritten: use another tag, or exempt this one from the registry's rule for immutable tags"
            )
        case "TAG_INVALID":
            return failure.error.refused(.invalidSpec, "the registry does not accept this tag: use another one")
        case "NAME_INVALID":
            return failure.error.refused(
                .invalidSpec, "the registry does not accept the name of this repository: use another one")
        case "NAME_UNKNOWN":
            return failure.error.refused(
                .notFound,
                "the repository does not exist: create it, or let the registry create repositories when they are pushed to"
            )
        default: return nil
        }
    }

    private func tooLarge(_ document: RawDocument) -> String {
        "the manifest has \(document.bytes.count) bytes, and most registries take up to 4 MiB"
    }
}

extension CacheError {
    /// The same with a code and a remedy of its own.
    fileprivate func refused(_ code: Code, _ remedy: String) -> CacheError {
        var error = self
        error.code = code
        error.message += "; \(remedy)"
        error.retry = .never
        return error
    }

    /// The same, as something that may be gone at the next try.
    var passing: CacheError {
        var error = self
        error.code = .unavailable
        error.retry = .worthwhile
        return error
    }
}
