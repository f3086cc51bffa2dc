@testable import BuildCacheHTTP
@testable import BuildCacheGraph
@testable import BuildCache
@testable import BuildCacheS3
import Foundation
import NIOCore
import NIOHTTP1
@testable import TestServers
@testable import TestTools
import Testing

/// Imports the cache in a directory; there must be one.
///
/// - Parameter digest: The manifest, where it is not tagged `latest`.
func importCache(_ path: String, digest: Digest? = nil, scratch: ScratchStore) async throws -> ImportedCache {
    let options = LocalOptions(src: path, digest: digest)
    return try #require(try await LocalCache(options, scratch: scratch).importCache(progress: .discarded))
}

/// Imports a cache of BuildKit's.
func importCache(_ fixture: Fixture, at path: String? = nil, scratch: ScratchStore) async throws -> ImportedCache {
    // What was copied from a registry kept the tag it had there.
    let digest = try fixture.expected.caches.first?.manifestDigest.map { try Digest($0) }
    return try await importCache(path ?? fixture.path, digest: fixture.isTaggedLatest ? nil : digest, scratch: scratch)
}

/// Exports an imported cache to another directory.
@discardableResult
func copy(
    _ cache: ImportedCache, to path: String, _ options: ExportOptions, scratch: ScratchStore
) async throws -> ExportReceipt {
    try await LocalCache(LocalOptions(dest: path), export: options, scratch: scratch)
        .exportCache(cache.graph, from: LayerSource(blobs: cache.blobs), progress: .discarded)
}

extension LayerGraph {
    /// The same graph with layers that are named by what is in them: equal for equal caches, however compressed.
    func withDiffIDs() throws -> LayerGraph {
        var blobs: [Digest: Descriptor] = [:]
        for (digest, descriptor) in descriptors {
            let diffID = try #require(descriptor.diffID)
            blobs[digest] = Descriptor(mediaType: .layer(.uncompressed), digest: diffID.digest, size: 0)
        }
        return try replacing(blobs: blobs)
    }

    /// The digests of a chain of layers, bottom first.
    func digests(of chain: LayerID) throws -> [String] {
        try self.chain(chain).map {
            if case .blob(let digest) = try self[$0].content { digest.description } else { "pending" }
        }
    }
}

extension BlobSource {
    /// All bytes of a blob.
    func bytes(of descriptor: Descriptor) async throws -> [UInt8] {
        var bytes: [UInt8] = []
        for try await chunk in try await open(descriptor, range: nil) { bytes += chunk.readableBytesView }
        return bytes
    }
}

/// A new bucket of a server that knows the identity `ours` with `oursecret`; waits until the server can store something in it.
func s3Options(at address: String) async throws -> S3Options {
    var options = S3Options(bucket: "cache", region: "us-east-1")
    options.endpointURL = try ServiceURL("http://\(address)")
    options.usePathStyle = true
    options.accessKeyID = "ours"
    options.secretAccessKey = Secret("oursecret")
    let bucket = try await S3Bucket(options, client: S3Client(environment: .empty))
    try await retrying {
        await (try await bucket.send(S3Request(.PUT, nil, permission: "s3:CreateBucket"))).discard()
    }
    try await retrying { try await bucket.putObject("ready", []) }
    return options
}
