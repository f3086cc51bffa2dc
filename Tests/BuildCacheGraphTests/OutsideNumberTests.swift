import BuildCacheCore
import BuildCacheGraph
import TestTools
import Testing

@Suite("A number in a cache config")
struct OutsideNumberTests {
    private static let digest = Digest(of: "a".utf8)

    /// Configs with `%` in the place of a number.
    static let forms = [
        #"{"layers":[{"blob":"D","parent":%}],"records":[{"digest":"D","layers":[{"layer":0}]}]}"#,
        #"{"layers":[{"blob":"D","parent":-1}],"records":[{"digest":"D","layers":[{"layer":%}]}]}"#,
        #"{"layers":[{"blob":"D","parent":-1}],"records":[{"digest":"D","chains":[{"layers":[%]}]}]}"#,
        #"{"layers":[{"blob":"D","parent":-1}],"records":[{"digest":"D"},{"digest":"D","inputs":[[{"link":%}]]}]}"#,
        #"{"layers":[{"blob":"D","parent":-1,"annotations":{"size":%,"mediaType":"m"}}],"records":[{"digest":"D","layers":[{"layer":0}]}]}"#,
    ]

    @Test("leads to a row and a size that there are, or the config is refused", arguments: forms, OutsideNumbers.json)
    func numbers(_ form: String, _ number: String) {
        let text = form.replacing("D", with: Self.digest.description).replacing("%", with: number)
        for layers in [CacheConfigLayers.undescribed, .annotated, .image([])] {
            do throws(CacheError) {
                let graph = try LayerGraph(decodingConfig: Array(text.utf8), layers: layers)
                #expect(graph.descriptors.values.allSatisfy { (0...Descriptor.maximumSize).contains($0.size) })
            } catch {
                #expect(error.code == .corrupted)
            }
        }
    }
}
