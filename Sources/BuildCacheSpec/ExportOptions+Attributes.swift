import BuildCacheCore

extension ExportOptions {
    init(from reader: inout AttributeReader) throws(CacheError) {
        self.init()
        mode = try reader.word("mode", default: CacheMode.min, isTolerated: true)
        ignoreError = try reader.bool("ignore-error", default: false, isTolerated: true)
        compression = try CompressionOptions(from: &reader)
        layout = try ManifestLayout(from: &reader)
        replacesOtherContent = reader.isLenient
    }

    func write(to writer: inout AttributeWriter) {
        writer.text("mode", mode.rawValue, default: CacheMode.min.rawValue)
        writer.flag("ignore-error", ignoreError)
        writer.text("compression", compression.type.rawValue, default: Compression.gzip.rawValue)
        writer.text("compression-level", compression.level.map(String.init))
        writer.flag("force-compression", compression.force)
        switch layout {
        case .imageManifest: break
        case .ociIndex: writer.flag("image-manifest", false, default: true)
        // `image-manifest` is then false by itself.
        case .dockerList: writer.flag("oci-mediatypes", false, default: true)
        }
    }
}

extension CompressionOptions {
    fileprivate init(from reader: inout AttributeReader) throws(CacheError) {
        self.init()
        type = try reader.word("compression", default: Compression.gzip)
        level = try reader.integer("compression-level")
        // Written without a value it is a switch, here and nowhere else: BuildKit util/compression/attrs.go.
        force = try reader.string("force-compression") == "" ? true : reader.bool("force-compression", default: false)
        try reader.refuse(
            "the compression of type=inline has no effect without force-compression=true: the layers are the image's",
            when: reader.type == .inline && !force && (reader.has("compression") || reader.has("compression-level")))
        guard let level else { return }
        switch type {
        case .uncompressed:
            try reader.refuse(
                "\"compression-level\" has no effect with compression=uncompressed: remove it", when: true)
        case .gzip, .estargz:
            try reader.refuse(
                "\"compression-level\" is \(level), \(type.rawValue) has the levels -2 to 9",
                when: !(-2...9).contains(level))
        case .zstd: break
        }
    }
}

extension ManifestLayout {
    fileprivate init(from reader: inout AttributeReader) throws(CacheError) {
        let usesOCITypes = try reader.bool("oci-mediatypes", default: true)
        let isImage = try reader.bool("image-manifest", default: usesOCITypes)
        guard usesOCITypes || !isImage else {
            throw reader.fault("image-manifest=true needs OCI's media types: remove it or oci-mediatypes=false")
        }
        self = usesOCITypes ? (isImage ? .imageManifest : .ociIndex) : .dockerList
    }
}
