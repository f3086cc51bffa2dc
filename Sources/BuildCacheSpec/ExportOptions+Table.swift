import BuildCacheCore

extension ExportOptions: OptionTable {
    static let table = selectionRows + compressionRows + layoutRows

    private static let selectionRows: [Option<ExportOptions>] = [
        Option(\.mode, .export("mode"), .word.tolerated(as: nil)),
        Option(\.ignoreError, .export("ignore-error"), .bool.tolerated(as: false)),
    ]
    private static let compressionRows: [Option<ExportOptions>] = [
        Option(\.compression.type, .export("compression"), .word),
        Option(\.compression.level, .export("compression-level"), .integer),
        // Written without a value it is a switch, here and nowhere else: BuildKit util/compression/attrs.go.
        Option(\.compression.force, .export("force-compression"), .switch),
    ]
    private static let layoutRows: [Option<ExportOptions>] = [
        Option(\.usesOCITypes, .export("oci-mediatypes"), .bool),
        Option(\.isImage, .export("image-manifest"), .bool),
    ]

    /// The keys that a backend has.
    ///
    /// - Source: `Documentation/Spec/spec-syntax.md` §3. BuildKit ignores compression outside of `registry` and `local`; we do not.
    static func keys(of type: CacheSpec.BackendType) -> [OptionKey] {
        switch type {
        case .inline: compressionRows.map(\.key)
        case .registry, .local: keys
        case .gha, .s3, .azblob: (selectionRows + compressionRows).map(\.key)
        }
    }

    private var usesOCITypes: Bool {
        get { layout != .dockerList }
        set { layout = newValue ? .imageManifest : .dockerList }
    }

    /// Read after ``usesOCITypes``: Docker's types exclude an image manifest, so that it need not be said.
    private var isImage: Bool {
        get { layout != .ociIndex }
        set { if usesOCITypes { layout = newValue ? .imageManifest : .ociIndex } }
    }

    var defaults: ExportOptions { ExportOptions() }

    init(from reader: inout AttributeReader) throws(CacheError) {
        self.init(replacesOtherContent: reader.isLenient)
        try read(from: &reader)
    }

    func check(_ reader: inout AttributeReader) throws(CacheError) {
        try reader.refuse(
            "the compression of type=inline has no effect without force-compression=true: the layers are the image's",
            when: reader.type == .inline && !compression.force
                && (reader.attributes["compression"] != nil || reader.attributes["compression-level"] != nil))
        switch (compression.type, compression.level) {
        case (.uncompressed, .some):
            try reader.refuse(
                "\"compression-level\" has no effect with compression=uncompressed: remove it", when: true)
        case (.gzip, let level?), (.estargz, let level?):
            try reader.refuse(
                "\"compression-level\" is \(level), \(compression.type.rawValue) has the levels -2 to 9",
                when: !(-2...9).contains(level))
        case (.zstd, _), (_, nil): break
        }
        if layout == .dockerList, GoText.bool(reader.attributes["image-manifest"] ?? "") == true {
            throw reader.fault("image-manifest=true needs OCI's media types: remove it or oci-mediatypes=false")
        }
    }
}
