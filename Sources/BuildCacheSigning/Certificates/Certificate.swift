import BuildCacheCore
import CCrypto

/// A certificate; lives on one thread, for one verification.
struct Certificate: ~Copyable {
    private let handle: OpaquePointer
    /// The public key.
    let key: PublicKey

    /// - Throws: `CacheError` `.untrusted` if the bytes are not a certificate with a supported key.
    init(der: [UInt8]) throws(CacheError) {
        guard let handle = X509.parse(der) else { throw CacheError(.untrusted, "the certificate is malformed") }
        guard let publicKey = X509_get0_pubkey(handle), let key = try? PublicKey(publicKey) else {
            X509_free(handle)
            throw CacheError(.untrusted, "the key of the certificate is of an unsupported algorithm")
        }
        self.handle = handle
        self.key = key
    }

    deinit {
        X509_free(handle)
        ERR_clear_error()
    }

    // MARK: Chains

    /// The hash of the issuer's key if the certificate is for code signing and leads to an authority at a time; `nil` if not.
    func issuerKey(at time: Timestamp, _ authorities: [TrustedRoot.Authority]) -> Digest? {
        // Bit 3: the value of XKU_CODE_SIGN.
        guard X509_get_extended_key_usage(handle) & 0x8 != 0, X509_get_extended_key_usage(handle) != UInt32.max else {
            return nil
        }
        for authority in authorities where authority.validity.contains(time) {
            guard let store = X509.store(of: authority.chain, at: time) else { continue }
            defer { X509_STORE_free(store) }
            let context = X509_STORE_CTX_new()
            defer { X509_STORE_CTX_free(context) }
            guard X509_STORE_CTX_init(context, store, handle, nil) == 1, X509_verify_cert(context) == 1,
                let chain = X509_STORE_CTX_get0_chain(context), OPENSSL_sk_num(chain) > 1,
                let issuer = OPENSSL_sk_value(chain, 1),
                let spki = X509.encoded({ i2d_X509_PUBKEY(X509_get_X509_PUBKEY(OpaquePointer(issuer)), $0) })
            else { continue }
            return Digest(of: spki)
        }
        return nil
    }

    /// Whether a log of certificates has promised to list this one.
    ///
    /// - Source: RFC 6962 §3.2 and §3.3.
    func hasPromise(of logs: [TrustedRoot.Log], issuerKey: Digest) -> Bool {
        guard let list = X509_get_ext_d2i(handle, NID_ct_precert_scts, nil, nil) else { return false }
        let promises = OpaquePointer(list)
        defer { SCT_LIST_free(promises) }
        guard let copy = X509_dup(handle) else { return false }
        defer { X509_free(copy) }
        let place = X509_get_ext_by_NID(copy, NID_ct_precert_scts, -1)
        guard place >= 0 else { return false }
        X509_EXTENSION_free(X509_delete_ext(copy, place))
        guard let body = X509.encoded({ i2d_re_X509_tbs(copy, $0) }), body.count < 1 << 24 else { return false }
        for index in 0..<min(OPENSSL_sk_num(promises), 16) {
            guard let value = OPENSSL_sk_value(promises, index) else { continue }
            let promise = OpaquePointer(value)
            let id = X509.bytes { SCT_get0_log_id(promise, $0) }
            let extensions = X509.bytes { SCT_get0_extensions(promise, $0) }
            let signature = X509.bytes { SCT_get0_signature(promise, $0) }
            let milliseconds = SCT_get_timestamp(promise)
            guard SCT_get_version(promise) == SCT_VERSION_V1,
                let time = Timestamp(seconds: Int64(clamping: milliseconds / 1000)), extensions.count < 1 << 16,
                let log = logs.first(where: { $0.id == id && $0.validity.contains(time) })
            else { continue }
            var message: [UInt8] = [0, 0]
            message += withUnsafeBytes(of: milliseconds.bigEndian) { Array($0) }
            message += [0, 1] + issuerKey.bytes
            message += withUnsafeBytes(of: UInt32(body.count).bigEndian) { Array($0.dropFirst()) } + body
            message += withUnsafeBytes(of: UInt16(extensions.count).bigEndian) { Array($0) } + extensions
            if log.key.verifies(signature, of: message) { return true }
        }
        return false
    }

    // MARK: Identity

    /// The values of the fields that this certificate has.
    var fields: [CertificateField: String] {
        var fields: [CertificateField: String] = [:]
        fields[.certificateIssuer] = issuer
        fields[.subjectAlternativeName] = alternativeName
        for field in CertificateField.allCases {
            guard let (oid, isRaw) = field.extensionID, fields[field] == nil, let value = value(of: oid) else {
                continue
            }
            fields[field] = isRaw ? String(validating: value, as: UTF8.self) : X509.text(inDER: value)
        }
        if fields[.issuer] == nil {
            fields[.issuer] = value(of: "1.3.6.1.4.1.57264.1.1").flatMap { String(validating: $0, as: UTF8.self) }
        }
        return fields
    }

    private var issuer: String? {
        let output = BIO_new(BIO_s_mem())
        defer { BIO_free(output) }
        // As Go prints it: RFC 2253.
        guard X509_NAME_print_ex(output, X509_get_issuer_name(handle), 0, X509.rfc2253) >= 0 else { return nil }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = BIO_read(output, &bytes, Int32(bytes.count))
        return String(validating: bytes.prefix(Int(max(0, count))), as: UTF8.self)
    }

    /// The first URI, else the first e-mail address.
    private var alternativeName: String? {
        guard let list = X509_get_ext_d2i(handle, NID_subject_alt_name, nil, nil) else { return nil }
        let names = OpaquePointer(list)
        defer { GENERAL_NAMES_free(names) }
        var email: String?
        for index in 0..<min(OPENSSL_sk_num(names), 64) {
            guard let value = OPENSSL_sk_value(names, index) else { continue }
            var type: Int32 = 0
            let name = GENERAL_NAME_get0_value(value.assumingMemoryBound(to: GENERAL_NAME.self), &type)
            guard let name, type == GEN_URI || type == GEN_EMAIL else { continue }
            let text = String(
                validating: X509.octets(name.assumingMemoryBound(to: ASN1_STRING.self)), as: UTF8.self)
            if type == GEN_URI { return text }
            email = email ?? text
        }
        return email
    }

    private func value(of oid: String) -> [UInt8]? {
        let object = OBJ_txt2obj(oid, 1)
        defer { ASN1_OBJECT_free(object) }
        let place = X509_get_ext_by_OBJ(handle, object, -1)
        guard place >= 0, let data = X509_EXTENSION_get_data(X509_get_ext(handle, place)) else { return nil }
        return X509.octets(data)
    }
}
