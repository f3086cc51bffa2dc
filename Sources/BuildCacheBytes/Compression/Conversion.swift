import BuildCacheCore
import NIOCore

/// A finished conversion: what went in and what came out, as it is remembered on disk.
struct Conversion: Hashable, Sendable {
    /// The stored bytes that were converted.
    var source: StreamDigest.Value
    /// The digest of what these decompress to.
    var sourceDiffID: DiffID
    /// The result.
    var encoded: EncodedLayer
}

extension Conversion {
    // One line per value. It is for this package only; anything unexpected is treated as no note at all.
    private static let heading = "swift-build-cache conversion 1"

    /// The note that ``init(note:)`` reads.
    var note: String {
        let values = [
            "\(source.digest) \(source.size)", "\(sourceDiffID)", "\(encoded.stored.digest) \(encoded.stored.size)",
            "\(encoded.uncompressed.digest) \(encoded.uncompressed.size)", "\(encoded.tar.digest) \(encoded.tar.size)",
            encoded.tocDigest?.description ?? "-",
        ]
        return ([Conversion.heading] + values).joined(separator: "\n") + "\n"
    }

    /// Reads a note, `nil` if it is none.
    init?(note: String) {
        let lines = note.split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.count == 8, lines[0] == Conversion.heading, lines[7].isEmpty else { return nil }
        func value(_ line: Substring) -> StreamDigest.Value? {
            let parts = line.split(separator: " ")
            guard parts.count == 2, let digest = try? Digest(parts[0]),
                let size = Int64(decimal: parts[1], in: 0...Descriptor.maximumSize)
            else {
                return nil
            }
            return StreamDigest.Value(digest: digest, size: size)
        }
        guard let source = value(lines[1]), let sourceDiffID = try? DiffID(lines[2]), let stored = value(lines[3]),
            let uncompressed = value(lines[4]), let tar = value(lines[5])
        else { return nil }
        let toc = try? Digest(lines[6])
        guard toc != nil || lines[6] == "-" else { return nil }
        self.source = source
        self.sourceDiffID = sourceDiffID
        encoded = EncodedLayer(stored: stored, uncompressed: uncompressed, tar: tar, tocDigest: toc)
    }

    /// The annotations of the layer that came out, in place of all that the source had.
    ///
    /// Where the source can be fetched from is kept: BuildKit adds it again too.
    ///
    /// - Source: `Documentation/Spec/compression.md` §3 "Conversion output".
    func annotations(replacing old: [String: String]) -> [String: String] {
        var annotations = old.filter { $0.key.hasPrefix("containerd.io/distribution.source.") }
        annotations[Annotation.uncompressed] = "\(encoded.uncompressed.digest)"
        if let toc = encoded.tocDigest {
            annotations[Annotation.estargzTOCDigest] = "\(toc)"
            annotations[Annotation.estargzUncompressedSize] = "\(encoded.uncompressed.size)"
        }
        return annotations
    }
}
