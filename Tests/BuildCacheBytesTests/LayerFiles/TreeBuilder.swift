import CFiles
import Foundation
import Testing

@testable import BuildCacheBytes

/// Makes the trees of the specification on the disk.
struct TreeBuilder {
    let root: String

    func build(_ tree: [String: LayerVectors.Node]) throws {
        let nodes = tree.map { (path: LayerVectors.bytes($0), node: $1) }
            .sorted { $0.path.lexicographicallyPrecedes($1.path) }
        try check(mkdir(root, 0o755), root)
        for (path, node) in nodes where node.type != "hardlink" { try make(path, node) }
        for (path, node) in nodes where node.type == "hardlink" {
            let target = full(LayerVectors.bytes(try #require(node.to)))
            let made = withCString(target) { target in
                withCString(full(path)) { linkat(AT_FDCWD, target, AT_FDCWD, $0, 0) }
            }
            try check(made, LayerVectors.name(path))
        }
        // Making children changes the times of directories.
        for (path, node) in nodes where node.type != "hardlink" { try setTime(path, node) }
    }

    private func full(_ path: [UInt8]) -> [UInt8] { Array(root.utf8) + [UInt8(ascii: "/")] + path }

    private func check(_ result: some SignedInteger, _ path: String) throws {
        guard result >= 0 else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO, userInfo: ["path": path]) }
    }

    private func make(_ path: [UInt8], _ node: LayerVectors.Node) throws {
        let name = LayerVectors.name(path)
        let device = files_device(node.major ?? 0, node.minor ?? 0)
        try withCString(full(path)) { path -> Result<Void, any Error> in
            Result {
                switch node.type {
                case "file":
                    let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL, 0o600)
                    try check(descriptor, name)
                    let bytes = LayerVectors.bytes(node.text ?? "")
                    try check(write(descriptor, bytes, bytes.count), name)
                    close(descriptor)
                case "directory": try check(mkdir(path, 0o755), name)
                case "symlink":
                    let target = LayerVectors.bytes(node.target ?? "")
                    try check(withCString(target) { symlink($0, path) }, name)
                case "fifo": try check(mkfifo(path, 0o644), name)
                case "socket": try check(mknod(path, mode_t(FileStatus.TypeBits.socket | 0o644), 0), name)
                case "character": try check(mknod(path, mode_t(FileStatus.TypeBits.characterDevice), device), name)
                case "block": try check(mknod(path, mode_t(FileStatus.TypeBits.blockDevice), device), name)
                default: throw POSIXError(.EINVAL, userInfo: ["type": node.type])
                }
                if geteuid() == 0 { try check(lchown(path, node.uid ?? 0, node.gid ?? 0), name) }
                if node.type != "symlink" {
                    let mode = node.mode.flatMap { UInt32($0, radix: 8) } ?? (node.type == "directory" ? 0o755 : 0o644)
                    try check(chmod(path, mode_t(mode)), name)
                }
                for (attribute, value) in node.xattrs ?? [:] {
                    let handle = Handle(open(path, O_RDONLY))
                    let bytes = LayerVectors.bytes("%hex:" + value)
                    try check(files_set_attribute(handle.descriptor, attribute, bytes, bytes.count), name)
                }
            }
        }.get()
    }

    private func setTime(_ path: [UInt8], _ node: LayerVectors.Node) throws {
        let time = (node.mtime?.time ?? FileTime(seconds: 1_700_000_000)).cTime
        let done = withCString(full(path)) { utimensat(AT_FDCWD, $0, [time, time], AT_SYMLINK_NOFOLLOW) }
        try check(done, LayerVectors.name(path))
    }
}
