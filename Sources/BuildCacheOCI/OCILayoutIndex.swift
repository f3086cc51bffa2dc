public import BuildCacheCore

/// The `index.json` of an OCI layout, to be read and edited: which tag of a directory is which document.
///
/// The directory may be shared with other tools, so an edit touches only what it is about: other entries, unknown members and
/// the order of everything stay, even entries that make no sense here. Only the space between tokens goes.
///
/// - Source: `Documentation/Spec/backends.md` §2; BuildKit client/ociindex/ociindex.go; OCI image-spec, image-layout.md.
public struct OCILayoutIndex: Sendable {
    /// The bytes of the file `oci-layout` beside it.
    public static let layoutFile = Array(#"{"imageLayoutVersion":"1.0.0"}"#.utf8)

    /// One line of the index.
    public struct Entry: Sendable {
        /// The full image name, from `Annotation.imageName`.
        public let imageName: String?
        /// The tag, from `Annotation.referenceName`.
        public let referenceName: String?
        fileprivate let json: [UInt8]

        /// The tag of a cache that the entry may be; `nil` for an image with a full name, and for what has no name.
        package var cacheTag: String? { (imageName ?? "").isEmpty ? referenceName : nil }

        /// Whether the entry may be the cache of this tag; tags are equal if their bytes are.
        fileprivate func isCache(tagged tag: String) -> Bool { cacheTag.map(ExactText.init) == ExactText(tag) }

        /// The document the entry stands for.
        ///
        /// - Throws: `CacheError` `.corrupted` or `.unsupported` if the entry is no usable descriptor; the others of the
        ///   index still are.
        public func descriptor() throws(CacheError) -> Descriptor {
            try readDocument(json, "entry of an OCI layout index", limit: .max) { (reader) throws(CacheError) in
                guard let descriptor = try reader.descriptor() else { throw reader.invalid("the entry is null") }
                return descriptor
            }
        }

        fileprivate init(json: UnsafeRawBufferPointer) {
            var writer = JSONWriter(reservingCapacity: json.count)
            writer.compact(json)
            let json = writer.bytes
            self.json = json
            let annotations = try? readDocument(json, "OCI layout index", limit: .max) { (reader) throws(CacheError) in
                try reader.annotationsOfEntry()
            }
            imageName = annotations?[Annotation.imageName]
            referenceName = annotations?[Annotation.referenceName]
        }

        /// The entry with one more annotation, its last.
        fileprivate func adding(_ annotation: String, _ value: String) throws(CacheError) -> Entry {
            func members(of json: [UInt8]) throws(CacheError) -> [JSONMember] {
                try readDocument(json, "entry of an OCI layout index", limit: .max) { (reader) throws(CacheError) in
                    try reader.members() ?? []
                }
            }
            var entry = try members(of: json)
            let place = entry.place(of: "annotations")
            var notes = JSONWriter()
            notes.beginObject()
            let known = if let place { try members(of: entry[place].json) } else { [JSONMember]() }
            for member in known {
                notes.key(member.key)
                notes.compact(member.json)
            }
            notes.key(annotation)
            notes.string(value)
            notes.endObject()
            if let place {
                entry[place].json = notes.bytes
            } else {
                entry.append(JSONMember(key: "annotations", json: notes.bytes))
            }
            var writer = JSONWriter()
            writer.beginObject()
            for member in entry {
                writer.key(member.key)
                writer.compact(member.json)
            }
            writer.endObject()
            return writer.bytes.withUnsafeBytes { Entry(json: $0) }
        }

        fileprivate init(_ descriptor: Descriptor) {
            var writer = JSONWriter()
            writer.descriptor(descriptor)
            json = writer.bytes
            imageName = descriptor.annotations[Annotation.imageName]
            referenceName = descriptor.annotations[Annotation.referenceName]
        }
    }

    /// The entries, first to last.
    public private(set) var entries: [Entry]
    /// The members in their order; the value of `manifests` is ``entries`` instead.
    private var members: [JSONMember]

    /// An index without entries, as BuildKit begins one.
    public init() {
        entries = []
        members = [JSONMember(key: "manifests", json: [])]
        fillDefaults()
    }

    /// Decodes an `index.json`.
    ///
    /// An empty file is an index without entries: BuildKit creates the file before it fills it.
    ///
    /// - Parameters:
    ///   - bytes: The JSON.
    ///   - limit: The most bytes to accept.
    /// - Throws: `CacheError` `.limitExceeded`, or `.corrupted` if `bytes` are no JSON object with an array `manifests`.
    public init(decoding bytes: [UInt8], limit: Int = Document.defaultLimit) throws(CacheError) {
        self.init()
        guard !bytes.isEmpty else { return }
        self = try readDocument(bytes, "OCI layout index", limit: limit) { (reader) throws(CacheError) in
            try OCILayoutIndex(&reader)
        }
    }

    private init(_ reader: inout JSONReader) throws(CacheError) {
        guard let members = try reader.members() else { throw reader.invalid("an index cannot be null") }
        self.members = members
        entries = []
        if let place = members.place(of: "manifests") {
            entries = try readDocument(members[place].json, "OCI layout index", limit: .max) {
                (reader) throws(CacheError) in
                try reader.list { (reader) throws(CacheError) in Entry(json: try reader.skipValue()) }
            }
        } else {
            self.members.append(JSONMember(key: "manifests", json: []))
        }
    }

    /// The index as compact JSON.
    public func encode() -> [UInt8] {
        let placeOfManifests = members.place(of: "manifests")
        var writer = JSONWriter()
        writer.beginObject()
        for (place, member) in members.enumerated() {
            writer.key(member.key)
            guard place == placeOfManifests else {
                writer.compact(member.json)
                continue
            }
            writer.beginArray()
            for entry in entries { writer.verbatim(entry.json) }
            writer.endArray()
        }
        writer.endObject()
        return writer.bytes
    }

    // MARK: Tags

    /// The entry that `tag` means: the first with this image name, else the first with this reference name.
    public func entry(tag: String) -> Entry? {
        entries.first { $0.imageName?.isExactly(tag) ?? false }
            ?? entries.first { $0.referenceName?.isExactly(tag) ?? false }
    }

    /// Makes `tag` mean `descriptor`: earlier entries of that tag are removed, a new one comes last.
    ///
    /// An entry with a full image name is an image, not a cache's tag, and stays even if its reference name is `tag`.
    public mutating func put(_ descriptor: Descriptor, tag: String) {
        remove(tag: tag)
        var descriptor = descriptor
        descriptor.annotations[Annotation.referenceName] = tag
        entries.append(Entry(descriptor))
        fillDefaults()
    }

    /// Notes a time in the entries of a document that have none of their own, as ``Annotation/created``; nothing else of them changes.
    package mutating func noteAge(_ time: Timestamp, ofEntriesNaming document: Digest) {
        for place in entries.indices {
            guard let descriptor = try? entries[place].descriptor(), descriptor.digest == document,
                descriptor.annotations[Annotation.created] == nil,
                let dated = try? entries[place].adding(Annotation.created, time.description)
            else { continue }
            entries[place] = dated
        }
    }

    /// Removes the entries that ``put(_:tag:)`` would replace, and says whether there were any.
    @discardableResult
    public mutating func remove(tag: String) -> Bool { removeEntries { $0.cacheTag?.isExactly(tag) ?? false } > 0 }

    /// The entries that ``put(_:tag:)`` would replace.
    package func entries(cacheTag tag: String) -> [Entry] { entries.filter { $0.cacheTag?.isExactly(tag) ?? false } }

    /// Removes the entries for which `isUnwanted` holds, and says how many they were.
    @discardableResult
    public mutating func removeEntries(where isUnwanted: (Entry) -> Bool) -> Int {
        let count = entries.count
        entries.removeAll(where: isUnwanted)
        return count - entries.count
    }

    // MARK: Members

    /// Adds what BuildKit adds when it writes an index that does not say what it is.
    private mutating func fillDefaults() {
        setIfEmpty("schemaVersion", to: "2", after: nil)
        setIfEmpty("mediaType", to: #""\#(MediaType.ociIndex)""#, after: "schemaVersion")
    }

    private mutating func setIfEmpty(_ key: StaticString, to value: String, after predecessor: StaticString?) {
        if let place = members.place(of: key) {
            let isEmpty = ["null", "0", "\"\""].contains { members[place].json.elementsEqual($0.utf8) }
            if isEmpty { members[place].json = Array(value.utf8) }
        } else {
            let place = predecessor.flatMap { members.place(of: $0) }.map { $0 + 1 } ?? 0
            members.insert(JSONMember(key: "\(key)", json: Array(value.utf8)), at: place)
        }
    }
}

extension JSONReader {
    /// The annotations of an entry, whatever else is wrong with it.
    fileprivate mutating func annotationsOfEntry() throws(CacheError) -> [String: String] {
        var annotations: [String: String] = [:]
        guard peek() == UInt8(ascii: "{"), try beginObject() else { return annotations }
        while let key = try nextKey() {
            switch key {
            case "annotations": annotations = try stringsByKey()
            default: try skipValue()
            }
        }
        return annotations
    }
}
