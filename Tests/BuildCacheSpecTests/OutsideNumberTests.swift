import BuildCacheCore
import BuildCacheSpec
import TestTools
import Testing

@Suite("A number in a spec")
struct OutsideNumberTests {
    private static let s3 = "type=s3,bucket=b,region=r"
    private static let gha = "type=gha,token=t,url=https://cache.example/"

    /// Attributes with numbers and durations, with `%` in their place.
    static let forms = [
        "type=registry,ref=a.example/b,compression-level=%", "type=local,dest=d,compression=zstd,compression-level=%",
        "type=local,dest=d,compression=estargz,compression-level=%",
        gha + ",version=%", gha + ",timeout=%", gha + ",timeout=%s", gha + ",timeout=%h", gha + ",timeout=0.%s",
        s3 + ",upload_parallelism=%", s3 + ",retry_max_attempts=%", s3 + ",touch_refresh=%", s3 + ",touch_refresh=%h",
        s3 + ",touch_refresh=1.%ns", s3 + ",endpoint_url=https://s3.example:%",
        "type=azblob,account_url=https://account.example:%/,secret_access_key=k",
        "type=registry,ref=a.example:%/b",
    ]

    @Test("is within bounds, or the spec is refused", arguments: forms, OutsideNumbers.strange)
    func text(_ form: String, _ number: String) {
        for leniency in [CacheSpec.Leniency.strict, .lenient] {
            do {
                let spec = try one(form.replacing("%", with: number), leniency: leniency)
                check(spec, leniency)
                // An accepted number is written in a form that is read again.
                let again = try one(spec.description, leniency: .lenient)
                #expect(again.type == spec.type)
            } catch let error as CacheError {
                #expect(error.code == .invalidSpec)
            } catch {
                Issue.record("\(error)")
            }
        }
    }

    @Test("of JSON is within bounds, or the spec is refused", arguments: OutsideNumbers.json)
    func json(_ number: String) {
        for key in ["compression-level", "version", "timeout", "upload_parallelism", "mode", "type"] {
            let text = #"[{"type":"s3","bucket":"b","region":"r","\#(key)":\#(number)}]"#
            do {
                for spec in try parse(text) { check(spec, .strict) }
            } catch let error as CacheError {
                #expect(error.code == .invalidSpec)
            } catch {
                Issue.record("\(error)")
            }
        }
    }

    private func check(_ spec: CacheSpec, _ leniency: CacheSpec.Leniency) {
        if let s3 = spec.s3 {
            #expect(s3.uploadParallelism >= 1)
            #expect(s3.retryMaxAttempts ?? 1 >= 1)
            #expect(leniency == .lenient || s3.touchRefresh >= .zero)
            #expect((1...65535).contains(s3.endpointURL?.port ?? 1))
        }
        if let gha = spec.gha {
            #expect(leniency == .lenient || [nil, 1, 2].contains(gha.version))
            #expect(leniency == .lenient || gha.timeout >= .zero)
        }
        if let azblob = spec.azblob { #expect((1...65535).contains(azblob.accountURL.port ?? 1)) }
    }
}
