// Exports to a directory again and again, in a process of its own: what tests of crashes and of several writers need.
//
//     ExportProbe <directory> <scratch> <tag> <sample> <exports> <reset> <kill at operation, 0 for never>
//
// The n-th export is the diamond named "<sample> n".

import BuildCacheBytes
import BuildCacheCore
import BuildCacheClient
import BuildCacheSpec
import BuildCacheTesting

let arguments = Array(CommandLine.arguments.dropFirst())
guard arguments.count == 7, let exports = Int(arguments[4]), let turn = Int(arguments[6]) else {
    throw CacheProbeError.usage
}
let layout = OCILayout(path: arguments[0], fileSystem: KillingFileSystem(at: turn))
let options = LocalOptions(dest: arguments[0], tag: arguments[2], reset: arguments[5] == "true")
let scratch = try await ScratchStore.open(at: arguments[1])
let cache = LocalCache(options, export: ExportOptions(mode: .max), scratch: scratch, layout: layout)
for number in 0..<exports {
    let sample = try SampleCache.diamond("\(arguments[3]) \(number)")
    _ = try await cache.exportCache(sample.graph, from: sample.source, progress: .discarded)
}

enum CacheProbeError: Error { case usage }
