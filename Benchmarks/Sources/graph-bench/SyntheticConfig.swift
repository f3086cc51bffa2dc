import BuildCache

/// A cache config of any size: about 280 bytes of JSON per record, each with a layer, a result and, but for the first, two links.
enum SyntheticConfig {
    /// The digest of the n-th record or layer: different for each, the same in each run, and as unordered as real ones.
    static func digest(_ kind: String, _ number: Int) -> Digest { Digest(of: "\(kind) \(number)".utf8) }

    /// The records that record `number` is linked to: the one before and one further back.
    static func sources(of number: Int) -> [Int] {
        number == 0 ? [] : [number - 1, number / 2]
    }

    /// When record `number` was made.
    static func createdAt(_ number: Int) -> Timestamp {
        Timestamp(seconds: 1_790_000_000 + Int64(number), nanoseconds: Int32(number % 999_999_937 + 1)) ?? .zero
    }

    /// The JSON.
    ///
    /// Layers form chains of 20, as the stages of builds do.
    static func json(records count: Int) -> [UInt8] {
        var json: [UInt8] = []
        json.reserveCapacity(count * 300 + 100)
        func add(_ text: String) { json.append(contentsOf: text.utf8) }
        add(#"{"layers":["#)
        for number in 0..<count {
            let parent = number % 20 == 0 ? -1 : number - 1
            add(#"\#(number == 0 ? "" : ","){"blob":"\#(digest("layer", number))","parent":\#(parent)}"#)
        }
        add(#"],"records":["#)
        for number in 0..<count {
            add(#"\#(number == 0 ? "" : ","){"layers":[{"layer":\#(number),"createdAt":"\#(createdAt(number))"}],"#)
            add(#""digest":"\#(digest("record", number))""#)
            let links = sources(of: number).map { #"{"link":\#($0)}"# }
            if !links.isEmpty { add(#","inputs":[[\#(links.joined(separator: ","))]]"#) }
            add("}")
        }
        add("]}")
        return json
    }

    /// Descriptors of all layers, as a manifest lists them.
    static func descriptors(_ count: Int) -> [Descriptor] {
        (0..<count).map { number in
            Descriptor(
                mediaType: .layer(.gzip), digest: digest("layer", number), size: 1000 + Int64(number),
                annotations: [
                    Annotation.uncompressed: digest("diff", number).description,
                    Annotation.createdAt: createdAt(number).description,
                ])
        }
    }
}
