package import BuildCacheCore
package import BuildCacheJSON

extension JSONWriter {
    /// Writes a descriptor with BuildKit's field order.
    ///
    /// - Source: `spec/cache-format.md` §5.
    package mutating func descriptor(_ descriptor: Descriptor) {
        beginObject()
        key("mediaType" as StaticString)
        string(descriptor.mediaType.text)
        key("digest" as StaticString)
        digest(descriptor.digest)
        key("size" as StaticString)
        integer(descriptor.size)
        if !descriptor.urls.isEmpty {
            key("urls" as StaticString)
            strings(descriptor.urls)
        }
        if !descriptor.annotations.isEmpty {
            key("annotations" as StaticString)
            beginObject()
            for (name, value) in descriptor.annotations.sorted(by: {
                $0.key.utf8.lexicographicallyPrecedes($1.key.utf8)
            }) {
                key(name)
                string(value)
            }
            endObject()
        }
        if let platform = descriptor.platform {
            key("platform" as StaticString)
            self.platform(platform)
        }
        if let artifactType = descriptor.artifactType {
            key("artifactType" as StaticString)
            string(artifactType)
        }
        endObject()
    }

    private mutating func platform(_ platform: Platform) {
        beginObject()
        key("architecture" as StaticString)
        string(platform.architecture)
        key("os" as StaticString)
        string(platform.os)
        if let osVersion = platform.osVersion {
            key("os.version" as StaticString)
            string(osVersion)
        }
        if !platform.osFeatures.isEmpty {
            key("os.features" as StaticString)
            strings(platform.osFeatures)
        }
        if let variant = platform.variant {
            key("variant" as StaticString)
            string(variant)
        }
        endObject()
    }

    private mutating func strings(_ values: [String]) {
        beginArray()
        for value in values { string(value) }
        endArray()
    }
}

extension JSONReader {
    /// Reads a descriptor.
    ///
    /// - Throws: `.corrupted` for a negative size and a digest that is none, `.unsupported` for one that is not SHA-256.
    package mutating func descriptor() throws(CacheError) -> Descriptor {
        var mediaType = MediaType("")
        var digest: Digest?
        var descriptor = Descriptor(mediaType: "", digest: Digest(of: []), size: 0)
        if try beginObject() {
            while let key = try nextKey() {
                switch key {
                case "mediaType": mediaType = MediaType(try string() ?? "")
                case "digest": digest = try Digest(try string() ?? "")
                case "size": descriptor.size = try integer()
                case "urls": descriptor.urls = try strings()
                case "annotations": descriptor.annotations = try stringMap()
                case "platform": descriptor.platform = try platform()
                case "artifactType": descriptor.artifactType = try string()
                default: try skipValue()
                }
            }
        }
        guard let digest else { throw invalid("a descriptor has no digest") }
        guard descriptor.size >= 0 else { throw invalid("the blob \(digest) has the size \(descriptor.size)") }
        descriptor.mediaType = mediaType
        descriptor.digest = digest
        return descriptor
    }

    /// Reads an array of descriptors.
    package mutating func descriptors() throws(CacheError) -> [Descriptor] {
        var descriptors: [Descriptor] = []
        guard try beginArray() else { return [] }
        while try nextElement() { descriptors.append(try descriptor()) }
        return descriptors
    }

    private mutating func platform() throws(CacheError) -> Platform? {
        guard try beginObject() else { return nil }
        var platform = Platform(os: "", architecture: "")
        while let key = try nextKey() {
            switch key {
            case "architecture": platform.architecture = try string() ?? ""
            case "os": platform.os = try string() ?? ""
            case "os.version": platform.osVersion = try string()
            case "os.features": platform.osFeatures = try strings()
            case "variant": platform.variant = try string()
            default: try skipValue()
            }
        }
        return platform
    }

    private mutating func strings() throws(CacheError) -> [String] {
        var strings: [String] = []
        guard try beginArray() else { return [] }
        while try nextElement() { strings.append(try string() ?? "") }
        return strings
    }

    private mutating func stringMap() throws(CacheError) -> [String: String] {
        var map: [String: String] = [:]
        guard try beginObject() else { return [:] }
        while let key = try nextKey() { map[key.text] = try string() ?? "" }
        return map
    }
}
