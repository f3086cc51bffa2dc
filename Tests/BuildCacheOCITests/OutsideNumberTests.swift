import BuildCacheCore
import BuildCacheOCI
import TestTools
import Testing

@Suite("A number in a document of OCI")
struct OutsideNumberTests {
    private static let digest = Digest(of: "a".utf8)
    private static let descriptor = #"{"mediaType":"m","digest":"D","size":%}"#

    /// Documents with `%` in the place of a number.
    static let forms = [
        #"{"schemaVersion":%,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#,
        #"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[\#(descriptor)]}"#,
        #"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":\#(descriptor),"layers":[]}"#,
        #"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"m","digest":"D","size":1},"layers":[\#(descriptor)]}"#,
    ]

    @Test("is a size that a blob can have, or the document is refused", arguments: forms, OutsideNumbers.json)
    func documents(_ form: String, _ number: String) {
        let bytes = Array(
            form.replacing("D", with: Self.digest.description).replacing("%", with: number).utf8)
        do throws(CacheError) {
            let document = try Document(decoding: bytes)
            #expect(document.references.allSatisfy { (0...Descriptor.maximumSize).contains($0.size) })
        } catch {
            #expect(error.code == .corrupted || error.code == .unsupported)
        }
        do throws(CacheError) { _ = try OCILayoutIndex(decoding: bytes) } catch {
            #expect(error.code == .corrupted || error.code == .unsupported)
        }
        do throws(CacheError) { _ = try ImageConfig(decoding: bytes) } catch {
            #expect(error.code == .corrupted || error.code == .unsupported)
        }
    }
}
