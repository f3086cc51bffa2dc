import BuildCacheCore

/// What a service does not do as Amazon's does.
///
/// Data: who speaks S3 is told by the host of the endpoint, or by the `Server` header of its first answer. A service that nobody knows
/// is asked for nothing that some refuse.
package struct S3Vendor: Hashable, Sendable {
    package var name: String
    /// `If-None-Match: *` on PutObject keeps a second writer from sending bytes that are there.
    package var createsOnlyIfAbsent: Bool
    /// The same on CompleteMultipartUpload.
    package var completesOnlyIfAbsent: Bool
    /// Whether `Accept-Encoding` arrives as it was sent, so that it can be signed.
    package var signsAcceptEncoding: Bool
    /// Whether a list is in the order of keys, so that a page tells what is absent between its first and last.
    package var listsInOrder: Bool

    /// Endings of hosts that are this vendor's.
    var hosts: [String] = []
    /// Beginnings of its `Server` header, in lower case.
    var servers: [String] = []

    /// What holds for all: no header beyond the protocol's oldest.
    static let unknown = S3Vendor(
        name: "S3", createsOnlyIfAbsent: false, completesOnlyIfAbsent: false, signsAcceptEncoding: true,
        listsInOrder: true)

    /// Who is known, each difference with its reason.
    static let known: [S3Vendor] = [
        // Both conditions since November 2024.
        S3Vendor(
            name: "AWS", createsOnlyIfAbsent: true, completesOnlyIfAbsent: true, signsAcceptEncoding: true,
            listsInOrder: true, hosts: [".amazonaws.com", ".amazonaws.com.cn"], servers: ["amazons3"]),
        // Answered 304 once; since 2024 as AWS does, on both calls.
        S3Vendor(
            name: "MinIO", createsOnlyIfAbsent: true, completesOnlyIfAbsent: true, signsAcceptEncoding: true,
            listsInOrder: true, servers: ["minio"]),
        // developers.cloudflare.com/r2/api/s3/conditional-operations. All parts but the last must be of one size, as ours are.
        S3Vendor(
            name: "R2", createsOnlyIfAbsent: true, completesOnlyIfAbsent: true, signsAcceptEncoding: true,
            listsInOrder: true, hosts: [".r2.cloudflarestorage.com"]),
        // The front end rewrites Accept-Encoding after it was signed. Its condition is x-goog-if-generation-match.
        S3Vendor(
            name: "GCS", createsOnlyIfAbsent: false, completesOnlyIfAbsent: false, signsAcceptEncoding: false,
            listsInOrder: true, hosts: ["storage.googleapis.com"], servers: ["uploadserver"]),
        // Had the condition on PutObject before AWS; on the other call only lately.
        S3Vendor(
            name: "Ceph", createsOnlyIfAbsent: true, completesOnlyIfAbsent: false, signsAcceptEncoding: true,
            listsInOrder: true, servers: ["ceph object gateway"]),
        // On PutObject since 2025; older ones ignore it, which is as good as not sending it. An upload that broke off may count as an
        // object without bytes.
        S3Vendor(
            name: "SeaweedFS", createsOnlyIfAbsent: true, completesOnlyIfAbsent: false, signsAcceptEncoding: true,
            listsInOrder: true, servers: ["seaweedfs"]),
        // Answers 501 to any condition on a write.
        S3Vendor(
            name: "B2", createsOnlyIfAbsent: false, completesOnlyIfAbsent: false, signsAcceptEncoding: true,
            listsInOrder: true, hosts: [".backblazeb2.com"]),
    ]

    /// Who answers at this host, as far as its name tells.
    package static func at(_ host: String) -> S3Vendor {
        let host = host.prefix { $0 != ":" }
        return known.first { $0.hosts.contains { host.hasSuffix($0) } } ?? unknown
    }

    /// Who signs its answers so, `nil` for somebody else.
    package static func answering(_ server: String) -> S3Vendor? {
        let server = server.lowercased()
        return known.first { $0.servers.contains { server.hasPrefix($0) } }
    }
}
