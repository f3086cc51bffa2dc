import BuildCacheCore
import CCrypto

/// Pieces around libcrypto's certificates; its macros are not visible to Swift.
enum X509 {
    /// `XN_FLAG_RFC2253`.
    static let rfc2253: UInt = 0x111_0317

    static func parse(_ der: [UInt8]) -> OpaquePointer? {
        der.withUnsafeBufferPointer { buffer in
            var next = buffer.baseAddress
            let certificate = d2i_X509(nil, &next, buffer.count)
            // Bytes behind a certificate belong to nothing that was signed.
            guard let certificate, next == buffer.baseAddress.map({ $0 + buffer.count }) else {
                X509_free(certificate)
                return nil
            }
            return certificate
        }
    }

    /// The certificates of an authority as a store that verifies at a time; `nil` if one of them is malformed.
    static func store(of chain: [[UInt8]], at time: Timestamp) -> OpaquePointer? {
        let store = X509_STORE_new()
        for der in chain {
            guard let certificate = parse(der) else {
                X509_STORE_free(store)
                return nil
            }
            defer { X509_free(certificate) }
            X509_STORE_add_cert(store, certificate)
        }
        X509_VERIFY_PARAM_set_time(X509_STORE_get0_param(store), Int(time.seconds))
        return store
    }

    /// What an `i2d` function writes.
    static func encoded(_ write: (UnsafeMutablePointer<UnsafeMutablePointer<UInt8>?>) -> Int32) -> [UInt8]? {
        var buffer: UnsafeMutablePointer<UInt8>?
        let count = write(&buffer)
        defer { CRYPTO_free(buffer, #file, #line) }
        guard count > 0, let buffer else { return nil }
        return Array(UnsafeBufferPointer(start: buffer, count: Int(count)))
    }

    /// The bytes that a getter points to.
    static func bytes(_ get: (UnsafeMutablePointer<UnsafeMutablePointer<UInt8>?>) -> Int) -> [UInt8] {
        var start: UnsafeMutablePointer<UInt8>?
        let count = get(&start)
        guard count > 0, let start else { return [] }
        return Array(UnsafeBufferPointer(start: start, count: count))
    }

    static func octets(_ string: UnsafePointer<ASN1_STRING>) -> [UInt8] {
        let count = Int(ASN1_STRING_length(string))
        guard count > 0, let data = ASN1_STRING_get0_data(string) else { return [] }
        return Array(UnsafeBufferPointer(start: data, count: count))
    }

    /// A short string in DER: UTF8String, PrintableString or IA5String.
    static func text(inDER der: [UInt8]) -> String? {
        guard der.count >= 2, [0x0C, 0x13, 0x16].contains(der[0]) else { return nil }
        var start = 2
        var count = Int(der[1])
        if count == 0x81, der.count > 2 { (start, count) = (3, Int(der[2])) }
        if der[1] == 0x82, der.count > 3 { (start, count) = (4, Int(der[2]) << 8 | Int(der[3])) }
        guard der[1] <= 0x82, der.count == start + count else { return nil }
        return String(validating: der[start...], as: UTF8.self)
    }
}
