import Testing

@testable import BuildCacheBytes

/// Compares a tree on the disk with one of the specification.
struct TreeCheck {
    private let vector: LayerVectors.Unpack
    private let user: UnpackingUser

    init(_ vector: LayerVectors.Unpack, _ user: UnpackingUser) {
        self.vector = vector
        self.user = user
    }

    func check(_ tree: DiskTree, _ expected: [String: LayerVectors.Node]) throws {
        var tree = tree
        let expected = LayerVectors.named(expected)
        let top = tree.nodes.removeValue(forKey: "")
        let root = try #require(top)
        if vector.rootOpaque == true { #expect(isOpaque(root)) }
        if vector.treeIsPartial != true { #expect(tree.nodes.keys.sorted() == expected.keys.sorted()) }
        for (path, node) in expected {
            let found = try #require(tree.nodes[path], "\(path.prefix(200))")
            var node = node
            if node.type == "hardlink" {
                let target = try #require(node.to)
                #expect(tree.nodes[target]?.status.identity == found.status.identity, "\(path)")
                node = try #require(expected[target])
            }
            check(found, node, path)
        }
    }

    private func check(_ found: DiskTree.Node, _ node: LayerVectors.Node, _ path: String) {
        let status = found.status
        let types: [String: UInt32] = [
            "file": FileStatus.TypeBits.file, "directory": FileStatus.TypeBits.directory,
            "symlink": FileStatus.TypeBits.symbolicLink, "fifo": FileStatus.TypeBits.fifo,
            "character": FileStatus.TypeBits.characterDevice, "block": FileStatus.TypeBits.blockDevice,
            "whiteout": FileStatus.TypeBits.characterDevice,
        ]
        #expect(types[node.type] == status.type, "\(path)")
        if node.type == "whiteout" {
            #expect(status.deviceMajor == 0 && status.deviceMinor == 0 && status.permissions == 0, "\(path)")
            return
        }
        if let text = node.text { #expect(found.bytes == LayerVectors.bytes(text), "\(path)") }
        if let target = node.target { #expect(found.target == LayerVectors.bytes(target), "\(path)") }
        if let major = node.major { #expect(status.deviceMajor == major, "\(path)") }
        if let minor = node.minor { #expect(status.deviceMinor == minor, "\(path)") }
        let defaults = ["file": UInt32(0o644), "directory": 0o755, "symlink": 0o777]
        if var mode = node.mode.flatMap({ UInt32($0, radix: 8) }) ?? defaults[node.type] {
            if !user.isPrivileged { mode &= ~0o6000 }
            #expect(status.permissions == mode, "\(path)")
        }
        if user.isPrivileged {
            #expect(status.userID == node.uid ?? 0, "\(path)")
            #expect(status.groupID == node.gid ?? 0, "\(path)")
        }
        if node.anyTime != true, node.implicit != true {
            #expect(isEqual(status.modified, node.mtime?.time ?? FileTime(seconds: 1_700_000_000)), "\(path)")
        }
        for (name, value) in node.xattrs ?? [:] { #expect(found.attributes[name] == hex(value), "\(path)") }
        if node.opaque == true { #expect(isOpaque(found), "\(path)") }
        if vector.mode != "overlay" {
            let names = found.attributes.keys.filter { $0 != "security.selinux" }
            #expect(names.sorted() == (node.xattrs ?? [:]).keys.sorted(), "\(path)")
        }
    }

    /// File systems keep times as far as they can.
    private func isEqual(_ found: FileTime, _ wanted: FileTime) -> Bool { found == wanted }

    private func isOpaque(_ node: DiskTree.Node) -> Bool {
        node.attributes[user.isPrivileged ? "trusted.overlay.opaque" : "user.overlay.opaque"] == [UInt8(ascii: "y")]
    }

    private func hex(_ text: String) -> [UInt8] { LayerVectors.bytes("%hex:" + text) }
}
