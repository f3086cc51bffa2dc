import Foundation

#if canImport(FoundationXML)
    import FoundationXML
#endif

/// Reads the XML of a block list.
final class BlockListDocument: NSObject, XMLParserDelegate {
    private var entries: [(BlobStorage.Lookup, String)] = []
    private var open: [String] = []
    private var text = ""
    private var isValid = true

    /// The blocks that a list names, `nil` if it is no list.
    static func read(_ bytes: [UInt8]) -> [(BlobStorage.Lookup, String)]? {
        let document = BlockListDocument()
        let parser = XMLParser(data: Data(bytes))
        parser.delegate = document
        return parser.parse() && document.isValid ? document.entries : nil
    }

    func parser(
        _ parser: XMLParser, didStartElement name: String, namespaceURI: String?, qualifiedName: String?,
        attributes: [String: String]
    ) {
        open.append(name)
        text = ""
        let isExpected =
            open.count == 1 ? name == "BlockList" : open.count == 2 && BlobStorage.Lookup(rawValue: name) != nil
        if !isExpected { isValid = false }
    }

    func parser(_ parser: XMLParser, foundCharacters string: String) { text += string }

    func parser(
        _ parser: XMLParser, didEndElement name: String, namespaceURI: String?, qualifiedName: String?
    ) {
        open.removeLast()
        if let lookup = BlobStorage.Lookup(rawValue: name) { entries.append((lookup, text)) }
    }
}
