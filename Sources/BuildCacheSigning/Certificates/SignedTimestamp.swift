import BuildCacheCore
import CCrypto

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// A response of a time authority.
enum SignedTimestamp {
    /// The time that an authority states about a signature.
    ///
    /// - Returns: `nil` if no authority that is trusted at that time has signed it.
    /// - Source: RFC 3161.
    static func time(in response: [UInt8], of signature: [UInt8], _ authorities: [TrustedRoot.Authority]) -> Timestamp?
    {
        let parsed: OpaquePointer? = response.withUnsafeBufferPointer { buffer in
            var next = buffer.baseAddress
            return d2i_TS_RESP(nil, &next, buffer.count)
        }
        guard let parsed else { return nil }
        defer {
            TS_RESP_free(parsed)
            ERR_clear_error()
        }
        guard let info = TS_RESP_get_tst_info(parsed), let written = TS_TST_INFO_get_time(info) else { return nil }
        var parts = tm()
        guard ASN1_TIME_to_tm(written, &parts) == 1, let time = Timestamp(seconds: Int64(timegm(&parts))) else {
            return nil
        }
        let isGood = authorities.contains { authority in
            authority.validity.contains(time) && verifies(parsed, signature, authority, at: time)
        }
        return isGood ? time : nil
    }

    private static func verifies(
        _ response: OpaquePointer, _ signature: [UInt8], _ authority: TrustedRoot.Authority, at time: Timestamp
    ) -> Bool {
        guard let context = TS_VERIFY_CTX_new() else { return false }
        // Frees what it is given.
        defer { TS_VERIFY_CTX_free(context) }
        TS_VERIFY_CTX_set_flags(context, Int32(TS_VFY_SIGNATURE | TS_VFY_VERSION | TS_VFY_DATA | TS_VFY_SIGNER))
        // The response need not hold the certificate of its signer, which is the first of the chain.
        let certificates = OPENSSL_sk_new_null()
        for der in authority.chain {
            if let certificate = X509.parse(der) { OPENSSL_sk_push(certificates, UnsafeRawPointer(certificate)) }
        }
        TS_VERIFY_CTX_set_certs(context, certificates)
        TS_VERIFY_CTX_set_data(context, BIO_new_mem_buf(signature, Int32(clamping: signature.count)))
        TS_VERIFY_CTX_set_store(context, X509.store(of: authority.chain, at: time))
        return withExtendedLifetime(signature) { TS_RESP_verify_response(context, response) == 1 }
    }
}
