import BuildCacheCore
import BuildCacheSpec
import Testing

@testable import BuildCacheS3

@Suite("The address of an object")
struct AddressTests {
    @Test(
        "has the bucket in the host where it can be, else in the path",
        arguments: [
            // Bucket, endpoint, path style, what is before the key.
            ("cache", nil, false, "https://cache.s3.eu-west-1.amazonaws.com/"),
            ("Cache_1", nil, false, "https://s3.eu-west-1.amazonaws.com/Cache_1/"),
            ("with.dots", nil, false, "https://s3.eu-west-1.amazonaws.com/with.dots/"),
            ("cache", "https://minio.example.com", false, "https://cache.minio.example.com/"),
            ("cache", "https://minio.example.com:443/", true, "https://minio.example.com/cache/"),
            ("cache", "https://minio.example.com/tenant/s3/", true, "https://minio.example.com/tenant/s3/cache/"),
            ("cache", "https://minio.example.com/tenant", false, "https://cache.minio.example.com/tenant/"),
            ("with.dots", "http://minio.example.com", false, "http://with.dots.minio.example.com/"),
            ("with.dots", "https://minio.example.com", false, "https://minio.example.com/with.dots/"),
            ("cache", "http://127.0.0.1:9000", false, "http://127.0.0.1:9000/cache/"),
            ("cache", "http://[::1]:9000", false, "http://[::1]:9000/cache/"),
            ("cache", "http://localhost:9000", false, "http://cache.localhost:9000/"),
        ] as [(String, String?, Bool, String)])
    func addresses(_ bucket: String, _ endpoint: String?, _ pathStyle: Bool, _ expected: String) throws {
        var options = S3Options(bucket: bucket, region: "eu-west-1")
        options.endpointURL = try endpoint.map { try ServiceURL($0) }
        options.usePathStyle = pathStyle
        let place = try S3Endpoint(options, region: "eu-west-1")
        #expect(place.origin + place.path("a:b/c d") == expected + "a%3Ab/c%20d")
    }

    @Test("is in the part of the cloud that the region is of")
    func partitions() throws {
        for (region, host) in [
            ("cn-north-1", "b-b.s3.cn-north-1.amazonaws.com.cn"),
            ("us-gov-west-1", "b-b.s3.us-gov-west-1.amazonaws.com"),
        ] {
            #expect(try S3Endpoint(S3Options(bucket: "b-b", region: region), region: region).host == host)
        }
        let error = #expect(throws: CacheError.self) {
            try S3Endpoint(S3Options(bucket: "b-b", region: "x"), region: "evil.example/")
        }
        #expect(error?.code == .invalidSpec)
    }

    @Test("is put together of prefixes as they are")
    func keys() throws {
        var options = S3Options(bucket: "b", region: "r", prefix: "p-")
        options.blobsPrefix = "x"
        let keys = S3Keys(options)
        let digest = Digest(of: "a".utf8)
        #expect(keys.blob(digest) == "p-x\(digest)")
        #expect(keys.manifest("n") == "p-manifests/n")
        #expect(keys.digest(ofBlob: keys.blob(digest)) == digest)
        #expect(keys.digest(ofBlob: "p-x" + "sha256:short") == nil)
        #expect(keys.digest(ofBlob: digest.description) == nil)
    }
}

@Suite("An answer in XML")
struct XMLTests {
    @Test("is read with its entities and without its namespaces")
    func reads() throws {
        let text = """
            <?xml version="1.0"?><s3:ListBucketResult xmlns:s3="u"><IsTruncated>false</IsTruncated>
            <Contents><Key> a&amp;b&#x20;</Key><Size>3</Size></Contents>
            </s3:ListBucketResult>
            """
        let page = try ObjectPage(Array(text.utf8))
        #expect(page.objects.map(\.key) == [" a&b "])
        #expect(!page.isTruncated)
    }

    @Test(
        "is refused if it is none, is another one, or would grow while it is read",
        arguments: [
            "", "{}", "<ListBucketResult>", "<Error><Code>x</Code></Error>",
            "<ListBucketResult><Contents><Key>no size</Key></Contents></ListBucketResult>",
            "<!DOCTYPE x [<!ENTITY a \"aaaa\">]><ListBucketResult>&a;</ListBucketResult>",
            String(repeating: "<a>", count: 40) + String(repeating: "</a>", count: 40),
        ])
    func refuses(_ text: String) {
        #expect(throws: CacheError.self) { try ObjectPage(Array(text.utf8)) }
    }
}

@Suite("The pace of requests")
struct PaceTests {
    @Test("is free until the service throttles, falls then, and comes back over time")
    func adapts() {
        var rate = AdaptiveRate()
        var now = 100.0
        // Twenty requests a second, for ten seconds.
        for _ in 0..<200 {
            #expect(rate.turn(at: now) == 0)
            rate.answered(throttled: false, at: now)
            now += 0.05
        }
        rate.answered(throttled: true, at: now)
        let slowed = rate.rate
        #expect(slowed > 10 && slowed < 15, "\(slowed)")
        var waited = 0.0
        for _ in 0..<40 {
            let pause = rate.turn(at: now)
            waited += pause
            now += pause
            rate.answered(throttled: false, at: now)
        }
        #expect(waited > 1)
        for _ in 0..<2000 {
            now += max(rate.turn(at: now), 0.01)
            rate.answered(throttled: false, at: now)
        }
        #expect(rate.rate > slowed * 1.3, "\(rate.rate)")
    }

    @Test("does not let a service that fails be asked for ever")
    func quota() {
        let quota = RetryQuota()
        var count = 0
        while quota.take(RetryQuota.cost) { count += 1 }
        #expect(count == 100)
        quota.giveBack(RetryQuota.cost)
        #expect(quota.take(RetryQuota.cost))
        quota.giveBack(1000)
        count = 0
        while quota.take(RetryQuota.cost) { count += 1 }
        #expect(count == 100)
    }
}

@Suite("The parts of a large layer")
struct PartTests {
    @Test("are 8 MiB, or more where that would be too many", arguments: [1 << 20, 64 << 20, 78_643_200_000, 5 << 40])
    func sizes(_ bytes: Int64) throws {
        let size = try PartSizes().size(for: bytes)
        #expect(size >= 8 << 20)
        #expect((bytes + size - 1) / size <= 10_000)
        if bytes <= 80_000 << 20 { #expect(size == 8 << 20) }
    }
}
