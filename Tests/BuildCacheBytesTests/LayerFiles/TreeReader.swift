import CFiles
import Foundation

@testable import BuildCacheBytes

/// A tree as it is on the disk, read by paths.
struct DiskTree {
    struct Node {
        var status: FileStatus
        var bytes: [UInt8]
        var target: [UInt8]
        var attributes: [String: [UInt8]]
    }

    /// By path, the root as the empty one.
    var nodes: [String: Node] = [:]

    init(_ root: String) throws {
        var waiting: [[UInt8]] = [[]]
        while let path = waiting.popLast() {
            let full = Array(root.utf8) + [UInt8(ascii: "/")] + path
            guard let status = withCString(full, { FileStatus(of: $0, in: AT_FDCWD) }) else { throw POSIXError(.EIO) }
            var node = Node(status: status, bytes: [], target: [], attributes: [:])
            if status.isSymbolicLink { node.target = DiskTree.target(full) }
            if status.isFile || status.isDirectory {
                let descriptor = withCString(full) { open($0, O_RDONLY) }
                guard descriptor >= 0 else { throw POSIXError(.EACCES) }
                let handle = Handle(descriptor)
                node.attributes = DiskTree.attributes(descriptor)
                if status.isFile { node.bytes = DiskTree.read(descriptor) }
                if status.isDirectory {
                    guard let names = DirectoryListing(consuming: dup(descriptor)) else { throw POSIXError(.EIO) }
                    for index in names.indices {
                        waiting.append((path.isEmpty ? [] : path + [UInt8(ascii: "/")]) + names[index])
                    }
                }
                withExtendedLifetime(handle) {}
            }
            nodes[LayerVectors.name(path)] = node
        }
    }

    private static func target(_ path: [UInt8]) -> [UInt8] {
        var text = [CChar](repeating: 0, count: 8192)
        let count = withCString(path) { readlink($0, &text, text.count) }
        return text.prefix(max(0, count)).map { UInt8(bitPattern: $0) }
    }

    private static func read(_ descriptor: Int32) -> [UInt8] {
        var all: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = Foundation.read(descriptor, &buffer, buffer.count)
            guard count > 0 else { return all }
            all += buffer.prefix(count)
        }
    }

    private static func attributes(_ descriptor: Int32) -> [String: [UInt8]] {
        var names = [CChar](repeating: 0, count: 1 << 16)
        let count = files_list_attributes(descriptor, &names, names.count)
        var result: [String: [UInt8]] = [:]
        for name in names.prefix(max(0, count)).split(separator: 0) {
            let text = String(decoding: name.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            var value = [UInt8](repeating: 0, count: 1 << 16)
            let size = files_get_attribute(descriptor, text, &value, value.count)
            result[text] = Array(value.prefix(max(0, size)))
        }
        return result
    }
}
