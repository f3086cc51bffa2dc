import BuildCacheClient
import TestTools
import Testing

@Suite("The system's table of locks")
struct LockTableTests {
    @Test(
        "names a process by its number, and none for a line whose numbers are others", arguments: OutsideNumbers.strange
    )
    func numbers(_ number: String) {
        let isNumber = !number.isEmpty && number.utf8.allSatisfy { (48...57).contains($0) }
        let processes = LockTable.processes(holding: 7, in: "1: FLOCK  ADVISORY  WRITE \(number) 08:02:7 0 EOF\n")
        #expect(processes == (isNumber ? Int32(number).map { [$0] } ?? [] : number == " 1" ? [1] : []))
        let others = LockTable.processes(holding: 7, in: "1: FLOCK  ADVISORY  WRITE 4711 08:02:\(number) 0 EOF\n")
        #expect(others == [])
        #expect(LockTable.processes(holding: 7, in: "1: FLOCK  ADVISORY  WRITE 4711 08:02:7 0 EOF\n") == [4711])
    }
}
