package import BuildCacheCore
import BuildCacheJSON

// Stands in for BuildCacheOCI's index until that is merged: this file goes then, its three functions stay.

/// The `index.json` of a layout: which tag names which manifest.
package struct LayoutIndex: Sendable {
    /// A manifest of the index, with the bytes it was read from.
    package struct Entry: Sendable {
        package var descriptor: Descriptor
        fileprivate var json: [UInt8]
    }

    private var all: [(entry: Entry?, json: [UInt8])] = []
    private var others: [(key: String, json: [UInt8])] = []

    /// The manifests whose digest we can read; the others are kept, not understood.
    package var entries: [Entry] { all.compactMap(\.entry) }

    /// An index that names nothing.
    package init() {}

    package init(_ bytes: [UInt8]) throws(CacheError) {
        let parsed = bytes.withUnsafeBytes { bytes in
            Result { () throws(CacheError) in try LayoutIndex(parsing: bytes) }
        }
        self = try parsed.get()
    }

    private init(parsing bytes: UnsafeRawBufferPointer) throws(CacheError) {
        var reader = JSONReader(bytes, document: "index.json")
        guard try reader.beginObject() else { throw reader.invalid("it is null") }
        while let key = try reader.nextKey() {
            switch key {
            case "schemaVersion", "mediaType": try reader.skipValue()
            case "manifests":
                guard try reader.beginArray() else { continue }
                while try reader.nextElement() {
                    let json = try reader.skipValue()
                    let entry = try LayoutIndex.entry(json)
                    all.append((entry, Array(json)))
                }
            default: others.append((key.text, Array(try reader.skipValue())))
            }
        }
        try reader.finish()
    }

    /// The manifest a tag names: `io.containerd.image.name` wins over `org.opencontainers.image.ref.name`.
    package func entry(forTag tag: String) -> Entry? {
        entries.first { $0.descriptor.annotations[Annotation.imageName] == tag }
            ?? entries.first { $0.descriptor.annotations[Annotation.referenceName] == tag }
    }

    /// The index as it should be once `tag` names `descriptor`; all else stays as it was.
    package func setting(tag: String, descriptor: Descriptor) -> [UInt8] {
        var writer = JSONWriter()
        writer.beginObject()
        writer.key("schemaVersion" as StaticString)
        writer.integer(2)
        writer.key("mediaType" as StaticString)
        writer.string(MediaType.ociIndex.text)
        writer.key("manifests" as StaticString)
        writer.beginArray()
        for (entry, json) in all {
            let annotations = entry?.descriptor.annotations ?? [:]
            if annotations[Annotation.referenceName] == tag, annotations[Annotation.imageName] == nil { continue }
            writer.verbatim(json)
        }
        writer.beginObject()
        writer.key("mediaType" as StaticString)
        writer.string(descriptor.mediaType.text)
        writer.key("digest" as StaticString)
        writer.digest(descriptor.digest)
        writer.key("size" as StaticString)
        writer.integer(descriptor.size)
        writer.key("annotations" as StaticString)
        writer.beginObject()
        writer.key(Annotation.referenceName)
        writer.string(tag)
        writer.endObject()
        writer.endObject()
        writer.endArray()
        for (key, json) in others {
            writer.key(key)
            writer.verbatim(json)
        }
        writer.endObject()
        return writer.bytes
    }

    private static func entry(_ json: UnsafeRawBufferPointer) throws(CacheError) -> Entry? {
        var reader = JSONReader(json, document: "index.json")
        var mediaType = ""
        var digest: Digest?
        var size: Int64 = 0
        var annotations: [String: String] = [:]
        guard try reader.beginObject() else { return nil }
        while let key = try reader.nextKey() {
            switch key {
            case "mediaType": mediaType = try reader.string() ?? ""
            case "digest": digest = try? Digest(try reader.string() ?? "")
            case "size": size = try reader.integer()
            case "annotations":
                guard try reader.beginObject() else { continue }
                while let key = try reader.nextKey() { annotations[key.text] = try reader.string() }
            default: try reader.skipValue()
            }
        }
        guard let digest else { return nil }
        let descriptor = Descriptor(
            mediaType: MediaType(mediaType), digest: digest, size: size, annotations: annotations)
        return Entry(descriptor: descriptor, json: Array(json))
    }
}
