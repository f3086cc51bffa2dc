public import BuildCacheCore

extension LLB.Platform {
    /// The platform that this program was built for.
    public static var host: LLB.Platform {
        #if os(macOS)
            let os = "darwin"
        #else
            let os = "linux"
        #endif
        #if arch(arm64)
            let architecture = "arm64"
        #elseif arch(arm)
            let architecture = "arm"
        #elseif arch(i386)
            let architecture = "386"
        #elseif arch(riscv64)
            let architecture = "riscv64"
        #elseif arch(powerpc64le)
            let architecture = "ppc64le"
        #elseif arch(s390x)
            let architecture = "s390x"
        #else
            let architecture = "amd64"
        #endif
        return LLB.Platform(os: os, architecture: architecture).normalized
    }

    /// The platform in the form in which keys hold it.
    ///
    /// - Source: `Documentation/Spec/cache-keys.md` §3.5; containerd/platforms.
    public var normalized: LLB.Platform {
        var result = self
        result.os = os.lowercased()
        if result.os.isEmpty { result.os = LLB.Platform.host.os }
        if result.os.isExactly("macos") { result.os = "darwin" }
        result.architecture = architecture.lowercased()
        result.variant = variant.lowercased()
        switch result.architecture {
        case "x86_64", "x86-64", "amd64":
            result.architecture = "amd64"
            if result.variant.isExactly("v1") { result.variant = "" }
        case "aarch64", "arm64":
            result.architecture = "arm64"
            if ["8", "v8", "v8.0"].contains(result.variant) { result.variant = "" }
            if ["9", "9.0", "v9.0"].contains(result.variant) { result.variant = "v9" }
        case "i386":
            result.architecture = "386"
            result.variant = ""
        case "armhf":
            result.architecture = "arm"
            result.variant = "v7"
        case "armel":
            result.architecture = "arm"
            result.variant = "v6"
        case "arm":
            if result.variant.isEmpty { result.variant = "v7" }
            if ["5", "6", "7", "8"].contains(result.variant) { result.variant = "v" + result.variant }
        default: break
        }
        var seen: Set<ExactText> = []
        result.osFeatures = osFeatures.map { ExactText($0) }.sorted().filter { seen.insert($0).inserted }.map(\.text)
        return result
    }

    /// Writes the fields as they stand in keys; system and processor always, the others if they are not empty.
    func write(to writer: inout JSONWriter) {
        writer.key("OS")
        writer.string(os)
        writer.key("Arch")
        writer.string(architecture)
        if !variant.isEmpty {
            writer.key("Variant")
            writer.string(variant)
        }
        if !osVersion.isEmpty {
            writer.key("OSVersion")
            writer.string(osVersion)
        }
        if !osFeatures.isEmpty {
            writer.key("OSFeatures")
            writer.beginArray()
            for feature in osFeatures { writer.string(feature) }
            writer.endArray()
        }
    }

    /// A platform in the form `linux/arm/v7`.
    ///
    /// - Throws: `CacheError` `.invalidSpec` for another form.
    public init(_ text: String) throws(CacheError) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false).map { String($0) }
        guard (2...3).contains(parts.count), parts.allSatisfy({ !$0.isEmpty }) else {
            throw CacheError(
                .invalidSpec, "invalid platform \(text.quoted): expected a name like linux/arm64 or linux/arm/v7")
        }
        self = LLB.Platform(os: parts[0], architecture: parts[1], variant: parts.count == 3 ? parts[2] : "").normalized
    }

    /// The form `linux/arm/v7`.
    public var text: String { [os, architecture, variant].filter { !$0.isEmpty }.joined(separator: "/") }
}
