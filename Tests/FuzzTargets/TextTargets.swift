import BuildCacheCore
import BuildCacheSpec
import BuildCacheHTTP

extension FuzzTarget {
    /// Texts of people and of services: specs, JSON, XML.
    static let text = [spec, json, xml]

    private static let spec = FuzzTarget("spec", seeds: { path, _ in path.hasSuffix(".spec") }) { input in
        let isLenient = input.choice & 1 == 1
        let direction: CacheSpec.Direction = input.choice & 2 == 2 ? .export : .import
        let secret = "5ecre7"
        let environment = Environment { "\($0)-\(secret)" }
        let text = input.rest.text
        guard !text.contains(secret) else { return }
        if input.choice & 4 == 4 {
            _ = try CacheSpec.parse(
                json: text, for: direction, environment: environment, leniency: isLenient ? .lenient : .strict)
            return
        }
        let specs = try CacheSpec.parse(
            text, for: direction, environment: environment, leniency: isLenient ? .lenient : .strict,
            dialect: input.choice & 8 == 8 ? .buildctl : .buildx)
        for spec in specs {
            let shown = "\(spec)"
            try check(!shown.contains(secret), "a description shows a value of the environment: \(shown)")
        }
    }

    private static let json = FuzzTarget("json", seeds: { _, bytes in isJSON(bytes) }) { input in
        let (text, number) = try JSONReader.read(input.bytes, as: "input") { reader throws(CacheError) in
            var values = (text: "", number: Int64(0))
            guard try reader.beginObject() else { return values }
            while let key = try reader.nextKey() {
                values.text += key.text
                switch reader.peek() {
                case UInt8(ascii: "\""): values.text += try reader.string() ?? ""
                case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): values.number ^= try reader.integer()
                case UInt8(ascii: "["):
                    guard try reader.beginArray() else { continue }
                    while try reader.nextElement() { _ = try reader.skipValue() }
                default: try reader.skipValue()
                }
            }
            return values
        }
        _ = (text, number)
    }

    private static let xml = FuzzTarget("xml", seeds: { _, bytes in bytes.first == UInt8(ascii: "<") }) { input in
        let root = try XMLNode.parse(input.bytes, limits: XMLLimits(bytes: 1 << 20, elements: 10_000))
        _ = root.value("Code")
        _ = root.all("Contents").compactMap { $0.value("Key") }
    }

    static func isJSON(_ bytes: [UInt8]) -> Bool {
        bytes.first == UInt8(ascii: "{") || bytes.first == UInt8(ascii: "[")
    }
}
