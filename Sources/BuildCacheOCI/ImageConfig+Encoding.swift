public import BuildCacheCore

extension ImageConfig {
    /// Creates the config of an image without layers.
    public init(platform: Platform, created: Timestamp? = nil) {
        self.platform = platform
        self.created = created
        diffIDs = []
        history = []
    }

    /// The config as JSON.
    ///
    /// A config that was decoded and not changed keeps its bytes, and with them its digest. Of a changed one all other members keep their
    /// order and values as they stand, those of the root file system and of unchanged history entries too; new members come last.
    ///
    /// - Throws: `CacheError` `.limitExceeded` for a list of more than half a million entries.
    public func encode() throws(CacheError) -> [UInt8] {
        let bytes = original ?? Array("{}".utf8)
        let old = try ImageConfig(decoding: bytes, limit: .max)
        if self == old { return bytes }

        var members = try ImageConfig.members(of: bytes, limit: .max)
        for name in ImageConfig.memberNames { members.removeOverridden(name) }
        if created != old.created { members.set("created", created.map { time in { $0.timestamp(time) } }) }
        members.update(platform, from: old.platform)
        if diffIDs != old.diffIDs || original == nil {
            let rootfs = members.place(of: "rootfs").map { members[$0].json }
            let isObject = rootfs?.first == UInt8(ascii: "{")
            let json = try ImageConfig.replacingDiffIDs(
                in: isObject ? rootfs ?? [] : Array(#"{"type":"layers"}"#.utf8), with: diffIDs)
            members.set("rootfs") { $0.verbatim(json) }
        }
        if history != old.history {
            let json = try encodedHistory(over: members.last { $0.isNamed("history") }?.json, old.history)
            members.set("history") { $0.verbatim(json) }
        }
        if inlineCache != old.inlineCache {
            let text = inlineCache.map { String(decoding: Base64.encode($0), as: UTF8.self) }
            members.set(ImageConfig.inlineCacheKey, text.map { text in { $0.string(text) } })
        }
        return members.encode()
    }

    /// The history; entries at the place of an equal old one stay as they are.
    private func encodedHistory(over json: [UInt8]?, _ old: [History]) throws(CacheError) -> [UInt8] {
        var entries: [[UInt8]] = []
        if let json {
            entries = try readDocument(json, "history of the image config", limit: .max) {
                (reader) throws(CacheError) in
                try reader.list { (reader) throws(CacheError) in Array(try reader.skipValue()) }
            }
        }
        var writer = JSONWriter()
        writer.beginArray()
        for (place, step) in history.enumerated() {
            guard place < old.count, place < entries.count else {
                writer.verbatim(try step.encode(over: []))
                continue
            }
            if old[place] == step {
                writer.verbatim(entries[place])
            } else {
                // An entry may be null.
                let isObject = entries[place].first == UInt8(ascii: "{")
                writer.verbatim(
                    try step.encode(over: isObject ? ImageConfig.members(of: entries[place], limit: .max) : []))
            }
        }
        writer.endArray()
        return writer.bytes
    }
}

extension ImageConfig.History {
    /// The entry as JSON, with the members of an older one that are not read here.
    fileprivate func encode(over old: [JSONMember]) throws(CacheError) -> [UInt8] {
        var members = old
        members.set("created", created.map { time in { $0.timestamp(time) } })
        let text = createdBy
        members.set("created_by", text.isEmpty ? nil : { $0.string(text) })
        members.set("empty_layer", isEmptyLayer ? { $0.bool(true) } : nil)
        return members.encode()
    }
}

extension [JSONMember] {
    /// The members as an object, each value as it stands.
    fileprivate func encode() -> [UInt8] {
        var writer = JSONWriter(reservingCapacity: reduce(2) { $0 + $1.json.count + $1.key.utf8.count + 4 })
        writer.beginObject()
        for member in self {
            writer.key(member.key)
            writer.verbatim(member.json)
        }
        writer.endObject()
        return writer.bytes
    }

    /// Replaces the value of a member, adds the member as the last, or removes it.
    fileprivate mutating func set(_ name: StaticString, _ write: ((inout JSONWriter) -> Void)?) {
        guard let write else { return removeAll { $0.isNamed(name) } }
        removeOverridden(name)
        var writer = JSONWriter()
        write(&writer)
        if let place = place(of: name) {
            self[place].json = writer.bytes
        } else {
            append(JSONMember(key: "\(name)", json: writer.bytes))
        }
    }

    /// Changes the members that say the platform, where it differs.
    fileprivate mutating func update(_ new: Platform, from old: Platform) {
        func text(_ value: String?) -> ((inout JSONWriter) -> Void)? { value.map { value in { $0.string(value) } } }
        if new.architecture != old.architecture { set("architecture", text(new.architecture)) }
        if new.variant != old.variant { set("variant", text(new.variant)) }
        if new.os != old.os { set("os", text(new.os)) }
        if new.osVersion != old.osVersion { set("os.version", text(new.osVersion)) }
        if new.osFeatures != old.osFeatures {
            set("os.features", new.osFeatures.isEmpty ? nil : { $0.strings(new.osFeatures) })
        }
    }
}
