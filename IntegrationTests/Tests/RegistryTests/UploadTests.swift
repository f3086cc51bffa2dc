@testable import BuildCacheBytes
@testable import BuildCacheCore
@testable import BuildCacheTesting
import Synchronization
@testable import TestServers
@testable import TestTools
import Testing

@testable import BuildCacheRegistry

/// A way in which registries write the `Range` of an upload.
private enum RangeStyle: String, CaseIterable, CustomTestStringConvertible {
    case right, oneTooMany, ofThePart, withUnit, asContentRange, missing

    var testDescription: String { rawValue }

    func header(_ stored: Int, _ part: Int) -> String? {
        switch self {
        case .right: "0-\(max(0, stored - 1))"
        case .oneTooMany: "0-\(stored)"
        case .ofThePart: "0-\(max(0, part - 1))"
        case .withUnit: "bytes=0-\(max(0, stored - 1))"
        case .asContentRange: "\(stored - part)-\(max(0, stored - 1))"
        case .missing: nil
        }
    }
}

@Suite("An upload")
struct UploadTests {
    /// Stores a blob at a registry for which 16 000 bytes are worth a session.
    private func put(
        _ registry: FakeRegistry, size: Int = 17_000, profile: RegistryProfile? = nil, attempts: Int = 6
    ) async throws -> CacheError? {
        let blob = makeBlob(size)
        let failure = Mutex<CacheError?>(nil)
        try await withRepository(registry, profile: profile, attempts: attempts, resumableSize: 16_000) {
            repository, _, _ in
            do { try await repository.put(blob.descriptor, from: MemorySource([blob.bytes])) } catch let error
                as CacheError
            {
                failure.withLock { $0 = error }
            }
        }
        let error = failure.withLock { $0 }
        if error == nil { #expect(registry.blobs(of: "app")["\(blob.descriptor.digest)"] == blob.bytes) }
        return error
    }

    @Test(
        "is sent once to a registry that counts its bytes in another way", arguments: RangeStyle.allCases,
        [RegistryProfile.Upload.resumable, .chunks(6000)])
    private func rangeStyles(_ style: RangeStyle, _ mode: RegistryProfile.Upload) async throws {
        let registry = FakeRegistry()
        registry.manners.uploadRange = { style.header($0, $1) }
        #expect(try await put(registry, profile: RegistryProfile(upload: mode)) == nil)
        #expect(registry.methods.count { $0 == "PATCH" } == (mode == .resumable ? 1 : 3))
        #expect(registry.methods.count { $0 == "POST" } == 1)
    }

    @Test(
        "ends, with the blob stored, at a registry that writes any number into Range",
        arguments: OutsideNumbers.strange.flatMap { ["0-\($0)", "\($0)-5", $0] })
    func hostileRange(_ range: String) async throws {
        let registry = FakeRegistry()
        registry.manners.uploadRange = { _, _ in range }
        #expect(try await put(registry) == nil)
        #expect(registry.methods.count { $0 == "PATCH" || $0 == "PUT" } <= 8)
    }

    @Test(
        "ends, with the blob stored, at a registry that writes any number into OCI-Chunk-Min-Length",
        arguments: OutsideNumbers.strange)
    func hostileMinimum(_ minimum: String) async throws {
        let registry = FakeRegistry()
        registry.manners.minimumPart = minimum
        #expect(try await put(registry, profile: RegistryProfile(upload: .chunks(6000))) == nil)
        #expect(registry.methods.count { $0 == "PATCH" } <= 3)
    }

    @Test("ends though a break, a limit of sizes and a number without measure come together")
    func minimumAndLimit() async throws {
        let registry = FakeRegistry()
        registry.manners.minimumPart = "9223372036854775807"
        registry.manners.uploadRange = { _, _ in "0-99" }
        registry.manners.fault = { number, _ in number == 3 ? .status(413) : nil }
        #expect(try await put(registry, size: 3 * mebibyte) == nil)
    }

    @Test("ends at a registry that refuses every digest", arguments: [1000, 17_000])
    func digests(_ size: Int) async throws {
        let registry = FakeRegistry()
        registry.manners.refusesDigests = true
        let error = try #require(try await put(registry, size: size))
        #expect(error.message.contains("DIGEST_INVALID"))
        // One way of sending more than there are tries.
        #expect(registry.methods.count { $0 == "POST" } <= 7)
        #expect(registry.openUploads == 0)
    }

    @Test(
        "counts every session that is thrown away as a try, whatever the session took",
        arguments: ["BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID"])
    func lostSessions(_ code: String) async throws {
        let registry = FakeRegistry()
        registry.manners.fault = { _, request in request.method == "PUT" ? .status(400, code: code) : nil }
        let error = try #require(try await put(registry))
        #expect(error.message.contains(code))
        #expect(registry.methods.count { $0 == "POST" } <= 7)
    }

    @Test("counts a break as a try though each session takes all bytes anew")
    func breaks() async throws {
        let registry = FakeRegistry()
        registry.manners.uploadRange = { _, _ in nil }
        registry.manners.fault = { _, request in request.method == "PUT" ? .reset(after: 0) : nil }
        let error = try #require(try await put(registry))
        #expect(error.retry == .exhausted)
        #expect(registry.methods.count { $0 == "POST" } <= 8)
    }

    @Test("goes on behind the bytes that a registry keeps of each part")
    func keepsLess() async throws {
        let registry = FakeRegistry()
        registry.manners.kept = { min($0, mebibyte) }
        // Each part gets further than all before, so that two tries are enough.
        #expect(try await put(registry, size: 4 * mebibyte - 7, attempts: 2) == nil)
        #expect(registry.methods.count { $0 == "PATCH" } == 4)
        #expect(registry.methods.count { $0 == "POST" } == 1)
    }

    @Test("becomes one request at a registry that keeps two bytes of each part")
    func keepsTwo() async throws {
        let registry = FakeRegistry()
        registry.manners.kept = { min($0, 2) }
        #expect(try await put(registry) == nil)
        #expect(registry.methods.count { $0 == "PATCH" } <= 7)
    }

    @Test(
        "falls back to one request where every part is refused, by whichever status",
        arguments: [400, 403, 404, 405, 411, 415, 416, 422, 500, 501, 503])
    func withoutParts(_ status: Int) async throws {
        let registry = FakeRegistry()
        let refusal = ServerResponse(status, body: Array("<html>no</html>".utf8))
        registry.manners.fault = { _, request in request.method == "PATCH" ? .answer(refusal) : nil }
        #expect(try await put(registry) == nil)
        #expect(registry.methods.last == "PUT")
    }

    @Test("of the next blob begins in the way that the registry took the last one")
    func learns() async throws {
        let registry = FakeRegistry()
        registry.manners.takesParts = false
        try await withRepository(registry, resumableSize: 16_000) { repository, _, _ in
            for seed in 1...2 {
                let blob = makeBlob(17_000, seed: UInt8(seed))
                try await repository.put(blob.descriptor, from: MemorySource([blob.bytes]))
            }
            #expect(registry.methods.count { $0 == "PATCH" } == 1)
        }
    }

    @Test("comes in smaller and smaller parts where a proxy limits requests")
    func smallerParts() async throws {
        let registry = FakeRegistry()
        registry.manners.largestBody = mebibyte
        #expect(try await put(registry, size: 5 * mebibyte) == nil)
        // All at once, 4 MiB, then five parts.
        #expect(registry.methods.count { $0 == "PATCH" } == 7)
    }

    @Test("says that the size was refused where no part is small enough")
    func nothingFits() async throws {
        let registry = FakeRegistry()
        registry.manners.largestBody = 1000
        let error = try #require(try await put(registry, size: 3 * mebibyte))
        #expect(error.code == .limitExceeded)
    }

    @Test("of a size below zero is refused")
    func negativeSize() async throws {
        let registry = FakeRegistry()
        try await withRepository(registry) { repository, _, _ in
            var descriptor = makeBlob(10).descriptor
            descriptor.size = -1
            let error = await #expect(throws: CacheError.self) {
                try await repository.put(descriptor, from: MemorySource([]))
            }
            #expect(error?.code == .corrupted)
        }
    }
}

@Suite("A number in a header")
struct HeaderNumberTests {
    @Test("counts if it is made of digits and up to 2^50, and is nothing else", arguments: OutsideNumbers.strange)
    func parse(_ text: String) {
        let known: [String: Int64] = [
            "0": 0, "1": 1, "2147483648": 1 << 31, "4294967296": 1 << 32, "1125899906842624": 1 << 50,
        ]
        #expect(Int64(byteCount: text) == known[text])
        #expect(Int64(byteCount: "1125899906842624") == 1 << 50)
        #expect(Int64(byteCount: "1125899906842625") == nil)
    }

    @Test("of a part that was taken leads to an offset between its ends, without overflow")
    func offsets() {
        let limits: [Int64] = [0, 1, 5, 9, 10, 11, 19, 20, 21, 1 << 50]
        for last in limits {
            let offset = UploadSession.offset(after: 10..<20, lastByte: last)
            #expect((11...20).contains(offset))
            #expect(UploadSession.offset(lastByte: last, of: 20).map { (0...20).contains($0) } ?? (last > 20))
        }
        #expect(UploadSession.offset(after: 10..<20, lastByte: 14) == 15)
        #expect(UploadSession.offset(after: 10..<20, lastByte: nil) == 20)
    }
}
