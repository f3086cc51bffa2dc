import BenchSupport
import BuildCache
import Foundation

/// Microsoft's client moves the files of a folder, each with four connections.
private let pythonScript = """
    import os, sys
    from azure.storage.blob import BlobServiceClient
    direction, url, key, folder = sys.argv[1:5]
    container = BlobServiceClient(url, credential=key).get_container_client("theirs")
    if direction == "up":
        container.create_container()
        for name in os.listdir(folder):
            with open(os.path.join(folder, name), "rb") as file:
                container.upload_blob(name, file, length=os.path.getsize(file.name), max_concurrency=4)
    else:
        os.makedirs(folder)
        for name in list(container.list_blob_names()):
            with open(os.path.join(folder, name), "wb") as file:
                container.download_blob(name, max_concurrency=4).readinto(file)
    """

/// Moves layers with this library.
func move(up: Bool, _ address: String, _ folder: String) async throws {
    let words = address.split(separator: " ").map { String($0) }
    guard words.count == 3 else { throw CacheError(.invalidSpec, "the server announced something else") }
    let options = AzureBlobOptions(
        accountURL: try ServiceURL(words[0]), accountName: words[1], container: "ours",
        secretAccessKey: Secret(words[2]))
    try await ScratchStore.withTemporary { scratch in
        let cache = AzureBlobCache(options, export: ExportOptions(mode: .max), scratch: scratch)
        if up { try await cache.upload(try Layers(of: folder)) } else { try await cache.download(into: folder) }
    }
}

/// Uploads and downloads, in turns with Microsoft's client.
///
/// - Returns: Whether both are as fast as promised.
func compareWithPython(turns: Int, in parent: String) throws -> Bool {
    var (ups, theirUps, downs, theirDowns): ([Double], [Double], [Double], [Double]) = ([], [], [], [])
    let layers = try Layers(in: "\(parent)/layers", count: 8, mebibytes: 64)
    for turn in 0..<turns {
        // A server of its own for each: what is stored is memory.
        let copy = "\(parent)/copy-\(turn)"
        let first = try AnnouncedServer("serve-azure")
        let (ours, address) = ([CommandLine.arguments[0]], first.words.joined(separator: " "))
        ups.append(try runAlone(ours + ["up", address, layers.folder]).seconds)
        downs.append(try runAlone(ours + ["down", address, copy]).seconds)
        first.stop()
        try FileManager.default.removeItem(atPath: copy)
        let second = try AnnouncedServer("serve-azure")
        let (theirs, words) = (["python3", "-c", pythonScript], second.words)
        theirUps.append(try runAlone(theirs + ["up", words[0], words[2], layers.folder]).seconds)
        theirDowns.append(try runAlone(theirs + ["down", words[0], words[2], copy]).seconds)
        second.stop()
        try FileManager.default.removeItem(atPath: copy)
    }
    let isUpFast = compare("upload", ups, "Python client", theirUps, promised: 0.9)
    return compare("download", downs, "Python client", theirDowns, promised: 0.9) && isUpFast
}

/// Exports many small layers to a service that takes its time.
///
/// - Returns: Whether that is as fast as promised.
func timeGitHub(turns: Int, in parent: String) async throws -> Bool {
    let layers = try Layers(in: "\(parent)/small", count: 100, mebibytes: 1)
    var best = Double.infinity
    for _ in 0..<turns {
        let server = try AnnouncedServer("serve-github")
        defer { server.stop() }
        let options = GitHubActionsOptions(
            token: Secret(server.words[1]), urlV2: try ServiceURL(server.words[0]), version: 2)
        try await ScratchStore.withTemporary { scratch in
            let cache = GitHubActionsCache(
                options, export: ExportOptions(mode: .max), scratch: scratch,
                client: GitHubActionsClient(environment: .empty))
            let clock = ContinuousClock()
            let start = clock.now
            try await cache.upload(layers)
            best = min(best, (clock.now - start) / .seconds(1))
        }
    }
    let isKept = best <= 5
    print(
        String(
            format: "%@ gha v2, 100 layers of 1 MiB, answers after 50 ms: %.2f s (at most 5)", isKept ? "ok  " : "SLOW",
            best))
    return isKept
}
