// Compares packing and unpacking with GNU tar, bsdtar and cp -a.
//
//     swift run -c release layer-bench [DIRECTORY] [ROUNDS]
//
// In DIRECTORY, once on a RAM disk and once on a disk, it makes a tree of 100 000 small files in 1000 directories and one of 512 MiB in
// 486 files. Each command is a process of its own; the commands take turns, and the median of the ratios to GNU tar counts. Ours computes
// the diffID beside. Programs that are not installed are left out.
//
//     swift run -c release layer-bench memory [DIRECTORY]
//
// packs and unpacks 10⁶ files and fails above 128 MiB.
//
// `layer-bench pack TREE TAR` and `layer-bench unpack TAR TREE` do one of both.

import BuildCache
import Foundation

let arguments = Array(CommandLine.arguments.dropFirst())
switch arguments.first {
case "pack" where arguments.count == 3:
    try await LayerPacker(.directory(arguments[1])).write(to: arguments[2])
case "unpack" where arguments.count == 3:
    try await LayerUnpacker().unpack([try await BlobStream.file(at: arguments[1])], to: arguments[2])
case "memory":
    let work = try Work(in: arguments.dropFirst().first)
    defer { work.remove() }
    exit(try MemoryCheck(work).run() ? 0 : 1)
default:
    let work = try Work(in: arguments.first)
    defer { work.remove() }
    let rounds = arguments.dropFirst().first.flatMap { Int($0) } ?? 5
    try Comparison(work, rounds: max(1, rounds)).run()
}
