import Testing

@testable import BuildCacheRegistry

@Suite("An announcement of a job that merges into a tag")
struct TagMergeTests {
    private func listing(settled: Set<String>, underWay: Set<String>) -> TagMerge.Listing {
        TagMerge.Listing(settled: settled, underWay: underWay)
    }

    @Test("goes at the end of a job that is alone")
    func alone() {
        let listings = [
            listing(settled: [], underWay: ["own"]), listing(settled: ["own"], underWay: []),
            listing(settled: ["own"], underWay: []),
        ]
        #expect(TagMerge.removable(listings) == ["own"])
    }

    @Test("stays while anybody is under way who had announced itself when it settled")
    func slowWriter() {
        let listings = [
            listing(settled: ["early"], underWay: ["own", "slow"]),
            listing(settled: ["early", "own"], underWay: ["slow"]),
            listing(settled: ["early", "own"], underWay: ["slow"]),
        ]
        #expect(TagMerge.removable(listings) == [])
    }

    @Test("goes though others are under way that came later")
    func laterWriter() {
        let listings = [
            listing(settled: ["early"], underWay: ["own"]),
            listing(settled: ["early"], underWay: ["own", "slow"]),
            listing(settled: ["early", "own", "slow"], underWay: ["late"]),
            listing(settled: ["early", "own", "slow"], underWay: ["late", "later"]),
        ]
        #expect(TagMerge.removable(listings) == ["early"])
    }

    @Test("stays if only the list that showed it settled lacked somebody: a list is no picture of one moment")
    func missedWriter() {
        let listings = [
            listing(settled: ["early"], underWay: ["own"]),
            listing(settled: ["early", "own"], underWay: ["slow"]),
        ]
        #expect(TagMerge.removable(listings) == [])
    }
}
