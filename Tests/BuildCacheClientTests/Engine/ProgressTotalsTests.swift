import BuildCacheBytes
import BuildCacheCore
import BuildCacheClient
import Testing

@Suite("Totals of a progress")
struct ProgressTotalsTests {
    private func layer(_ name: String, _ size: Int64) -> Descriptor {
        Descriptor(mediaType: .layer(.gzip), digest: Digest(of: name.utf8), size: size)
    }

    @Test("count what is finished, and the part of what is under way")
    func fraction() {
        var totals = ProgressTotals()
        #expect(totals.fraction == 0)
        totals.add(.planned(layers: 4, bytes: 100))
        totals.add(.finished(layer("there", 10).digest, .alreadyPresent))
        totals.add(.started(layer("a", 100)))
        totals.add(.advanced(layer("a", 100).digest, bytes: 50))
        #expect(totals.fraction == 0.375)
        #expect(totals.bytes == 50)
        totals.add(.finished(layer("a", 100).digest, .written))
        #expect(totals.finishedLayers == 2)
        #expect(totals.bytes == 50)
    }

    @Test("count a layer that goes to two places twice, and one that was begun again once")
    func twoPlaces() {
        var totals = ProgressTotals()
        let a = layer("a", 100)
        for place in ["x", "y"] {
            totals.add(.planned(layers: 1, bytes: 100), of: place)
            totals.add(.started(a), of: place)
            totals.add(.advanced(a.digest, bytes: 80), of: place)
        }
        totals.add(.started(a), of: "y")
        #expect(totals.bytes == 80)
        totals.add(.advanced(a.digest, bytes: 100), of: "y")
        totals.add(.finished(a.digest, .written), of: "y")
        #expect(totals.bytes == 180)
        #expect(totals.fraction == 0.9)
    }

    @Test("never show more than all, though a pending layer had no size")
    func bounds() {
        var totals = ProgressTotals()
        totals.add(.planned(layers: 1, bytes: 0))
        totals.add(.started(layer("a", 0)))
        totals.add(.advanced(layer("a", 0).digest, bytes: 7))
        #expect(totals.fraction == 0)
        totals.add(.finished(layer("a", 0).digest, .written))
        totals.add(.finished(layer("b", 0).digest, .written))
        #expect(totals.fraction == 1)
    }
}
