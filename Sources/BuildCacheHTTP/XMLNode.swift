package import BuildCacheCore
import Foundation

#if canImport(FoundationXML)
    import FoundationXML
#endif

/// An element of a small XML document: its name, its text and what is in it.
///
/// Services answer with elements and text alone: attributes are dropped, namespaces ignored.
package struct XMLNode: Sendable {
    package var name: String
    package var text = ""
    package var children: [XMLNode] = []

    /// The most elements of a document: a list of a thousand objects has some ten thousand.
    private static let maximumNodes = 200_000
    /// The deepest that elements may lie in each other.
    private static let maximumDepth = 32

    /// Reads a document and gives its outermost element.
    ///
    /// - Throws: `CacheError` `.corrupted` if it is no XML, or has a document type, which can make a few bytes mean
    ///   many; `.limitExceeded` past 200 000 elements or 32 levels.
    package static func parse(_ bytes: [UInt8]) throws(CacheError) -> XMLNode {
        guard bytes.firstRange(of: Array("<!DOCTYPE".utf8)) == nil else {
            throw CacheError(.corrupted, "the answer is XML with a document type, which no such service sends")
        }
        let builder = Builder()
        let parser = XMLParser(data: Data(bytes))
        parser.delegate = builder
        let isWhole = parser.parse()
        if builder.isTooLarge { throw CacheError(.limitExceeded, "the answer has too many elements") }
        guard isWhole, let root = builder.root else {
            throw CacheError(.corrupted, "the answer is not the XML that it should be")
        }
        return root
    }

    /// Reads a document whose outermost element must be this.
    package static func parse(_ bytes: [UInt8], _ name: String) throws(CacheError) -> XMLNode {
        let root = try parse(bytes)
        guard root.name == name else {
            throw CacheError(.corrupted, "the answer is a <\(root.name.prefix(40))> instead of a <\(name)>")
        }
        return root
    }

    /// The first element of this name in it.
    package func first(_ name: String) -> XMLNode? { children.first { $0.name == name } }

    /// The text of the first element of this name, without the space around it; `nil` if there is none or it is empty.
    package func value(_ name: String) -> String? {
        guard let text = first(name)?.text.trimmingCharacters(in: .whitespacesAndNewlines), !text.isEmpty else {
            return nil
        }
        return text
    }

    /// All elements of this name in it.
    package func all(_ name: String) -> [XMLNode] { children.filter { $0.name == name } }

    private final class Builder: NSObject, XMLParserDelegate {
        var root: XMLNode?
        var isTooLarge = false
        private var open: [XMLNode] = []
        private var count = 0

        func parser(
            _ parser: XMLParser, didStartElement name: String, namespaceURI: String?, qualifiedName: String?,
            attributes: [String: String]
        ) {
            count += 1
            guard count <= XMLNode.maximumNodes, open.count < XMLNode.maximumDepth else {
                isTooLarge = true
                return parser.abortParsing()
            }
            // `s3:Code` is `Code`.
            open.append(XMLNode(name: String(name.split(separator: ":").last ?? "")))
        }

        func parser(_ parser: XMLParser, foundCharacters text: String) {
            guard !open.isEmpty else { return }
            open[open.count - 1].text += text
        }

        func parser(
            _ parser: XMLParser, didEndElement name: String, namespaceURI: String?, qualifiedName: String?
        ) {
            guard let node = open.popLast() else { return }
            if open.isEmpty { root = node } else { open[open.count - 1].children.append(node) }
        }
    }
}
