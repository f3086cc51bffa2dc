import BuildCacheBytes
import BuildCacheCore
import BuildCacheGraph
import BuildCacheHTTP
import BuildCacheOCI
import BuildCacheSpec
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

    /// What is known to be refused, before anything is sent.
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

    /// The refusal of a manifest, with the option that may help.
    func explained(_ failure: HTTPFailure, _ document: RawDocument) -> CacheError {
        var error = failure.error.adding(backend: "registry", subject: "\(document.digest)")
        guard [400, 404, 405, 406, 415, 422].contains(failure.status) else { return error }
        switch document.mediaType {
        case .ociIndex, .dockerManifestList:
            error.message += "; many registries take no index of layers: set image-manifest=true"
        default:
            let text = String(decoding: document.bytes, as: UTF8.self)
            if text.contains("tar+zstd") {
                error.message += "; a registry that does not know zstd takes compression=gzip,force-compression=true"
            } else if failure.code != "MANIFEST_BLOB_UNKNOWN" {
                error.message += "; the registry takes no manifest of a cache, or none of this type"
            }
        }
        error.code = .unsupported
        return error
    }
}

extension CacheError {
    /// The same, as something that may be gone at the next try.
    var passing: CacheError {
        var error = self
        error.code = .unavailable
        error.retry = .worthwhile
        return error
    }
}
