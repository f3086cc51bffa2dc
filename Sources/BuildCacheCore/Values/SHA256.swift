import CCrypto

/// SHA-256 over bytes as they pass, computed by OpenSSL.
///
/// Not `Sendable`: one hasher belongs to one stream. After ``finalize()`` it starts afresh.
package final class SHA256 {
    private let context: OpaquePointer?

    package init() {
        context = EVP_MD_CTX_new()
        start()
    }

    deinit { EVP_MD_CTX_free(context) }

    package func update(_ bytes: UnsafeRawBufferPointer) {
        EVP_DigestUpdate(context, bytes.baseAddress, bytes.count)
    }

    /// The digest of all bytes so far; more may follow.
    package func digest() -> Digest { copy().finalize() }

    /// A hasher of the same bytes so far, which goes its own way.
    package func copy() -> SHA256 {
        let copy = SHA256()
        EVP_MD_CTX_copy_ex(copy.context, context)
        return copy
    }

    package func finalize() -> Digest {
        var value: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
        withUnsafeMutableBytes(of: &value) { buffer in
            _ = EVP_DigestFinal_ex(context, buffer.bindMemory(to: UInt8.self).baseAddress, nil)
        }
        start()
        return withUnsafeBytes(of: value) { Digest(bytes: $0) }
    }

    private func start() {
        // Fails only when memory runs out or OpenSSL was built without SHA-256; a cache without digests cannot go on.
        precondition(EVP_DigestInit_ex(context, EVP_sha256(), nil) == 1, "OpenSSL offers no SHA-256")
    }
}

extension Digest {
    /// The SHA-256 of `bytes`.
    public init(of bytes: UnsafeRawBufferPointer) {
        let hasher = SHA256()
        hasher.update(bytes)
        self = hasher.finalize()
    }

    /// The SHA-256 of `bytes`.
    public init(of bytes: some Sequence<UInt8>) {
        let fast = bytes.withContiguousStorageIfAvailable { Digest(of: UnsafeRawBufferPointer($0)) }
        self = fast ?? Array(bytes).withUnsafeBytes { Digest(of: $0) }
    }

    /// The digest of the record whose operation has this digest, for one output of it.
    ///
    /// `sha256("<operation>@<output>")`. A key made of content rather than of an operation has output -1.
    ///
    /// - Source: `Documentation/Spec/cache-format.md` §4.1; BuildKit `cache/remotecache/v1/utils.go: outputKey`.
    public static func record(operation: Digest, output: Int) -> Digest {
        Digest(of: "\(operation)@\(output)".utf8)
    }

    /// The digest of the record that stands for content itself, whatever made it.
    ///
    /// - Source: `Documentation/Spec/cache-format.md` §4.1.
    public static func record(content: Digest) -> Digest {
        record(operation: content, output: -1)
    }
}
