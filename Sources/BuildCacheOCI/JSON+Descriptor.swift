package import BuildCacheCore

// Descriptors and platforms in Go's field order. A descriptor's `data`, its content inlined, is not kept: BuildKit writes it
// only for the empty config of attestation manifests, and those are passed on as they are.
//
// - Source: OCI image-spec specs-go/v1/descriptor.go; `Documentation/Spec/cache-format.md` §5.

extension JSONReader {
    /// A descriptor, or `nil` for `null`.
    ///
    /// - Throws: `CacheError` `.corrupted` without a digest, for a size outside 0...2⁵⁰ or another shape; `.unsupported` for
    ///   a digest that is not SHA-256.
    package mutating func descriptor() throws(CacheError) -> Descriptor? {
        guard try beginObject() else { return nil }
        var mediaType: MediaType = ""
        var digest: Digest?
        var size: Int64 = 0
        var urls: [String] = []
        var annotations: [String: String] = [:]
        var platform: Platform?
        var artifactType: String?
        while let key = try nextKey() {
            switch key {
            case "mediaType": mediaType = MediaType(try string() ?? "")
            case "digest": digest = try Digest(try string() ?? "")
            case "size": size = try integer("size of a descriptor", in: 0...Descriptor.maximumSize)
            case "urls": urls = try strings()
            case "annotations": annotations = try stringsByKey()
            case "platform": platform = try self.platform()
            case "artifactType": artifactType = try nonEmptyString()
            default: try skipValue()
            }
        }
        guard let digest else { throw invalid("a descriptor has no digest") }
        return Descriptor(
            mediaType: mediaType, digest: digest, size: size, urls: urls, annotations: annotations, platform: platform,
            artifactType: artifactType)
    }

    /// Every usable descriptor of an array.
    mutating func descriptors(leavingOut unusable: inout UnusableEntries) throws(CacheError) -> [Descriptor] {
        try list(leavingOut: &unusable) { (reader) throws(CacheError) in
            guard let descriptor = try reader.descriptor() else { throw reader.invalid("a descriptor is null") }
            return descriptor
        }
    }

    /// A platform, or `nil` for `null`.
    package mutating func platform() throws(CacheError) -> Platform? {
        guard try beginObject() else { return nil }
        var platform = Platform(os: "", architecture: "")
        while let key = try nextKey() {
            if try !readMember(key, of: &platform) { try skipValue() }
        }
        return platform
    }

    /// Reads the value of `key` if it belongs to a platform; an image config has the same members among its own.
    mutating func readMember(_ key: JSONKey, of platform: inout Platform) throws(CacheError) -> Bool {
        switch key {
        case "architecture": platform.architecture = try string() ?? ""
        case "os": platform.os = try string() ?? ""
        case "os.version": platform.osVersion = try nonEmptyString()
        case "os.features": platform.osFeatures = try strings()
        case "variant": platform.variant = try nonEmptyString()
        default: return false
        }
        return true
    }
}

extension JSONWriter {
    /// Writes a descriptor as Go does: what is empty is left out, except media type, digest and size.
    package mutating func descriptor(_ descriptor: Descriptor) {
        beginObject()
        key("mediaType")
        string(descriptor.mediaType.text)
        key("digest")
        digest(descriptor.digest)
        key("size")
        integer(descriptor.size)
        if !descriptor.urls.isEmpty {
            key("urls")
            strings(descriptor.urls)
        }
        if !descriptor.annotations.isEmpty {
            key("annotations")
            stringsByKey(descriptor.annotations)
        }
        if let platform = descriptor.platform {
            key("platform")
            self.platform(platform)
        }
        if let artifactType = descriptor.artifactType {
            key("artifactType")
            string(artifactType)
        }
        endObject()
    }

    /// Writes an array of descriptors.
    mutating func descriptors(_ descriptors: [Descriptor]) {
        beginArray()
        for descriptor in descriptors { self.descriptor(descriptor) }
        endArray()
    }

    private mutating func platform(_ platform: Platform) {
        beginObject()
        key("architecture")
        string(platform.architecture)
        key("os")
        string(platform.os)
        if let version = platform.osVersion {
            key("os.version")
            string(version)
        }
        if !platform.osFeatures.isEmpty {
            key("os.features")
            strings(platform.osFeatures)
        }
        if let variant = platform.variant {
            key("variant")
            string(variant)
        }
        endObject()
    }
}
