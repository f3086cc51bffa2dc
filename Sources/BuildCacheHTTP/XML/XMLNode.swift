package import BuildCacheCore

/// An element of a small XML document: its name, its text and the elements in it.
///
/// Services answer with elements and text alone: attributes are dropped, prefixes of names ignored.
package struct XMLNode: Hashable, Sendable {
    /// Without a prefix: `s3:Code` is `Code`.
    package var name: String
    /// All text directly in the element, with the space around it.
    package var text = ""
    /// The elements directly in it, in their order.
    package var children: [XMLNode] = []

    /// Makes an element.
    package init(name: String, text: String = "", children: [XMLNode] = []) {
        self.name = name
        self.text = text
        self.children = children
    }

    /// Reads a document and returns its outermost element.
    ///
    /// - Parameter limits: The largest document.
    /// - Throws: `CacheError` `.corrupted` if it is not well-formed XML in UTF-8 or has a document type, which can make a few bytes mean
    ///   many; `.limitExceeded` past `limits`.
    package static func parse(_ bytes: [UInt8], limits: XMLLimits = XMLLimits()) throws(CacheError) -> XMLNode {
        var reader = XMLReader(bytes, limits)
        return try reader.read()
    }

    /// Reads a document whose outermost element has this name.
    package static func parse(_ bytes: [UInt8], _ name: String) throws(CacheError) -> XMLNode {
        let root = try parse(bytes)
        guard root.name == name else {
            // Without the name in the response, which may repeat a credential of the request.
            throw CacheError(.corrupted, "unexpected XML element in the response: expected \(name.quoted)")
        }
        return root
    }

    /// The first element of this name in it.
    package func first(_ name: String) -> XMLNode? { children.first { $0.name == name } }

    /// The text of the first element of this name, without the space around it; `nil` without such an element or if it is empty.
    package func value(_ name: String) -> String? {
        guard var text = first(name)?.text[...] else { return nil }
        while text.first?.isWhitespace == true { text.removeFirst() }
        while text.last?.isWhitespace == true { text.removeLast() }
        return text.isEmpty ? nil : String(text)
    }

    /// All elements of this name in it.
    package func all(_ name: String) -> [XMLNode] { children.filter { $0.name == name } }
}

/// Limits for reading an XML document.
package struct XMLLimits: Hashable, Sendable {
    /// The most bytes; default 64 MiB.
    package var bytes: Int
    /// The most elements; default 400 000.
    ///
    /// A list of five thousand blobs has some 130 000.
    package var elements: Int
    /// The most elements that lie in each other; default 32.
    package var depth: Int

    /// Makes limits.
    package init(bytes: Int = 64 << 20, elements: Int = 400_000, depth: Int = 32) {
        self.bytes = bytes
        self.elements = elements
        self.depth = depth
    }
}
