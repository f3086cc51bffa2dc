import BuildCacheCore
import Testing

@Suite("A timestamp")
struct TimestampTests {
    @Test(
        "prints as Go would print what it parsed",
        arguments: [
            ("2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05.678Z"),
            ("2026-01-02T03:04:05.123456789Z", "2026-01-02T03:04:05.123456789Z"),
            ("2026-01-02T03:04:05.000Z", "2026-01-02T03:04:05Z"),
            ("2026-01-02T03:04:05.500000000+02:00", "2026-01-02T03:04:05.5+02:00"),
            ("2026-01-02T03:04:05-11:30", "2026-01-02T03:04:05-11:30"),
            ("2026-01-02T03:04:05+00:00", "2026-01-02T03:04:05Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999999Z"),
            ("2000-02-29T12:00:00Z", "2000-02-29T12:00:00Z"),
            ("1969-12-31T23:59:59.25Z", "1969-12-31T23:59:59.25Z"),
        ])
    func roundTrips(_ read: String, _ written: String) throws {
        #expect(try Timestamp(read).description == written)
    }

    @Test(
        "refuses what RFC 3339 refuses",
        arguments: [
            "", "2026-01-02", "2026-01-02 03:04:05Z", "2026-13-02T03:04:05Z", "2026-02-29T03:04:05Z",
            "2026-01-02T24:00:00Z",
            "2026-01-02T03:04:05", "2026-01-02T03:04:05.Z", "2026-01-02T03:04:05.5", "2026-01-02T03:04:05+2:00",
            "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-00:01",
        ])
    func refuses(_ text: String) {
        #expect(throws: CacheError.self) { try Timestamp(text) }
    }

    @Test("counts seconds from 1970 and orders by instant, whatever the zone")
    func countsSeconds() throws {
        #expect(try Timestamp("1970-01-01T00:00:00Z").seconds == 0)
        #expect(try Timestamp("2001-09-09T01:46:40Z").seconds == 1_000_000_000)
        #expect(try Timestamp("2001-09-09T03:46:40+02:00").seconds == 1_000_000_000)
        #expect(Timestamp.zero.description == "0001-01-01T00:00:00Z")
        #expect(try Timestamp("2026-01-01T00:30:00+01:00") < Timestamp("2026-01-01T00:00:00Z"))
    }
}
