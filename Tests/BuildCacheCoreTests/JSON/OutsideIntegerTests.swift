import BuildCacheCore
import TestTools
import Testing

@Suite("An integer of JSON from outside")
struct OutsideIntegerTests {
    @Test("is within its bounds, or the document is corrupted", arguments: OutsideNumbers.json)
    func bounds(_ text: String) throws {
        for range in [0...Int64.max, 0...1 << 50, -1...1] {
            do throws(CacheError) {
                let value = try JSONReader.read(Array("[\(text)]".utf8), as: "test") { reader throws(CacheError) in
                    guard try reader.beginArray(), try reader.nextElement() else { return Int64?.none }
                    let value = try reader.integer("number", in: range)
                    while try reader.nextElement() { try reader.skipValue() }
                    return value
                }
                #expect(value.map { range.contains($0) } ?? (text == ""))
                #expect(value == nil || text == "null" || Int64(text.trimmingPrefix(" ")) == value)
            } catch {
                #expect(error.code == .corrupted)
            }
        }
    }
}
