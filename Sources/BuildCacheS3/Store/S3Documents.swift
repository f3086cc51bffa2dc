package import BuildCacheCore
import BuildCacheHTTP

/// One page of a list of objects.
///
/// - Source: S3 API, ListObjectsV2.
struct ObjectPage {
    struct Object: Hashable {
        package var key: String
        var size: Int64
        var modifiedAt: Timestamp?
        /// As the service gives it, with its quotes.
        var etag: String?
        /// As in `GLACIER`; `nil` where the service does not tell.
        var storageClass: String?
    }
    var objects: [Object]
    /// Whether there is more behind it.
    var isTruncated: Bool
    /// What to ask for the next page with.
    var next: String?

    /// - Throws: `CacheError` `.corrupted`, also for an entry without a key or a valid size: it may be a name that needs layers.
    init(_ bytes: [UInt8]) throws(CacheError) {
        let root = try XMLNode.parse(bytes, "ListBucketResult")
        objects = try root.all("Contents").map { object throws(CacheError) in
            // The key as it is: space at its ends is part of it.
            guard let key = object.first("Key")?.text,
                let size = object.value("Size").flatMap({ Int64(decimal: $0, in: 0...Descriptor.maximumSize) })
            else {
                throw CacheError(
                    .corrupted,
                    "invalid entry in a list of objects: expected a key, and a size of 0...\(Descriptor.maximumSize) bytes"
                )
            }
            return Object(
                key: key, size: size, modifiedAt: object.value("LastModified").flatMap { try? Timestamp($0) },
                etag: object.value("ETag"), storageClass: object.value("StorageClass"))
        }
        isTruncated = root.value("IsTruncated") == "true"
        next = root.value("NextContinuationToken")
    }
}

/// Multipart uploads that nobody has completed or aborted.
///
/// - Source: S3 API, ListMultipartUploads.
package struct UploadPage {
    package struct Upload: Hashable {
        package var key: String
        package var id: String
        package var initiatedAt: Timestamp?
    }
    /// The place behind which a page begins.
    struct Place: Hashable {
        var key: String
        var id: String
    }
    var uploads: [Upload]
    /// Where the next page begins, `nil` if this is the last.
    var next: Place?

    init(_ bytes: [UInt8]) throws(CacheError) {
        let root = try XMLNode.parse(bytes, "ListMultipartUploadsResult")
        uploads = root.all("Upload").compactMap { upload in
            guard let key = upload.first("Key")?.text, let id = upload.value("UploadId") else { return nil }
            return Upload(key: key, id: id, initiatedAt: upload.value("Initiated").flatMap { try? Timestamp($0) })
        }
        if root.value("IsTruncated") == "true", let key = root.value("NextKeyMarker") {
            next = Place(key: key, id: root.value("NextUploadIdMarker") ?? "")
        }
    }
}

/// The parts that make up an object.
struct CompletedParts {
    /// A part that the service has.
    struct Part: Sendable {
        var number: Int
        /// As the service gave it, with its quotes.
        var etag: String
    }

    /// What CompleteMultipartUpload wants to be told.
    static func encode(_ parts: [Part]) -> [UInt8] {
        var text = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
        for part in parts.sorted(by: { $0.number < $1.number }) {
            text += "<Part><PartNumber>\(part.number)</PartNumber><ETag>\(part.etag.xmlEscaped)</ETag></Part>"
        }
        return Array((text + "</CompleteMultipartUpload>").utf8)
    }
}

extension String {
    fileprivate var xmlEscaped: String {
        var escaped = ""
        for character in self {
            switch character {
            case "&": escaped += "&amp;"
            case "<": escaped += "&lt;"
            case ">": escaped += "&gt;"
            case "\"": escaped += "&quot;"
            default: escaped.append(character)
            }
        }
        return escaped
    }
}
