import BuildCache
import Foundation
import NIOCore

private let layerCount = 8
private let layerSize = 64 << 20

/// What Microsoft's client takes, printed as seconds of the upload and of the download.
private let pythonScript = """
    import os, sys, time
    from azure.storage.blob import BlobServiceClient
    url, key, name = sys.argv[1:4]
    container = BlobServiceClient(url, credential=key).get_container_client(name)
    container.create_container()
    data = [os.urandom(\(layerSize)) for _ in range(\(layerCount))]
    start = time.monotonic()
    for number, blob in enumerate(data):
        container.upload_blob(str(number), blob, max_concurrency=4)
    middle = time.monotonic()
    for number, blob in enumerate(data):
        assert len(container.download_blob(str(number), max_concurrency=4).readall()) == len(blob)
    print(middle - start, time.monotonic() - middle)
    """

private func python(_ arguments: [String]) throws -> (upload: Double, download: Double) {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["python3", "-c", pythonScript] + arguments
    let output = Pipe()
    process.standardOutput = output
    try process.run()
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    let numbers = text.split(whereSeparator: \.isWhitespace).compactMap { Double($0) }
    guard numbers.count == 2 else { throw CacheError(.unavailable, "the Python client failed: make tools installs it") }
    return (numbers[0], numbers[1])
}

/// Uploads and downloads, in turns with Microsoft's client.
func compareWithPython(rounds: Int) async throws {
    print("\(layerCount) layers of \(layerSize >> 20) MiB, best of \(rounds)")
    var ours = (upload: Double.infinity, download: Double.infinity)
    var theirs = ours
    try await ScratchStore.withTemporary { scratch in
        for round in 0..<rounds {
            // A server of its own for each: what is stored is memory.
            try await withServer("serve-azure") { words in
                let (graph, source) = try makeCache(layers: layerCount, bytes: layerSize)
                let options = AzureBlobOptions(
                    accountURL: try ServiceURL(words[0]), accountName: words[1], container: "ours",
                    secretAccessKey: Secret(words[2]))
                let cache = AzureBlobCache(options, export: ExportOptions(mode: .max), scratch: scratch)
                let upload = try await seconds {
                    _ = try await cache.exportCache(graph, from: LayerSource(blobs: source), progress: .discarded)
                }
                let download = try await seconds {
                    guard let found = try await cache.importCache(progress: .discarded) else { return }
                    try await withThrowingTaskGroup(of: Int.self) { group in
                        for descriptor in found.graph.descriptors.values {
                            group.addTask {
                                var count = 0
                                for try await chunk in try await found.blobs.open(descriptor, range: nil) {
                                    count += chunk.readableBytes
                                }
                                return count
                            }
                        }
                        for try await count in group where count != layerSize {
                            throw CacheError(.corrupted, "a layer has \(count) bytes")
                        }
                    }
                }
                ours = (min(ours.upload, upload), min(ours.download, download))
                print("round \(round): ours   upload \(upload.short) s, download \(download.short) s")
            }
            try await withServer("serve-azure") { words in
                let (upload, download) = try python([words[0], words[2], "theirs"])
                theirs = (min(theirs.upload, upload), min(theirs.download, download))
                print("round \(round): Python upload \(upload.short) s, download \(download.short) s")
            }
        }
    }
    for (name, ours, theirs) in [
        ("upload", ours.upload, theirs.upload), ("download", ours.download, theirs.download),
    ] {
        let ratio = ours / theirs
        print(
            "\(name): \(ours.short) s to \(theirs.short) s, ratio \(ratio.short), \(ratio <= 0.9 ? "kept" : "MISSED") (0.9)"
        )
    }
}

/// Exports many small layers to a service that takes its time.
func timeGitHub(rounds: Int) async throws {
    var best = Double.infinity
    try await ScratchStore.withTemporary { scratch in
        for _ in 0..<rounds {
            try await withServer("serve-github") { words in
                let url = try ServiceURL(words[0])
                let (graph, source) = try makeCache(layers: 100, bytes: 1 << 20)
                let options = GitHubActionsOptions(token: Secret(words[1]), urlV2: url, version: 2)
                let cache = GitHubActionsCache(
                    options, export: ExportOptions(mode: .max), scratch: scratch,
                    client: GitHubActionsClient(environment: .empty))
                let time = try await seconds {
                    _ = try await cache.exportCache(graph, from: LayerSource(blobs: source), progress: .discarded)
                }
                best = min(best, time)
            }
        }
    }
    print("gha v2, 100 layers of 1 MiB, answers after 50 ms: \(best.short) s, \(best <= 5 ? "kept" : "MISSED") (5)")
}
