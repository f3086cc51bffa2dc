public import BuildCacheCore

extension Platform {
    /// The platform of images for this machine: Linux on its processor.
    ///
    /// Also on macOS, which runs such images in a virtual machine.
    public static var current: Platform {
        #if arch(x86_64)
            Platform(os: "linux", architecture: "amd64")
        #elseif arch(arm64)
            Platform(os: "linux", architecture: "arm64")
        #elseif arch(arm)
            Platform(os: "linux", architecture: "arm", variant: "v7")
        #elseif arch(i386)
            Platform(os: "linux", architecture: "386")
        #elseif arch(powerpc64le)
            Platform(os: "linux", architecture: "ppc64le")
        #elseif arch(s390x)
            Platform(os: "linux", architecture: "s390x")
        #else
            Platform(os: "linux", architecture: "riscv64")
        #endif
    }

    /// The rank of an image for this platform: 0 is best; `nil` for one that does not run on it.
    ///
    /// Processors run code for older variants of their own, the newest best.
    func rank(of image: Platform) -> Int? {
        let (mine, other) = (normalized, image.normalized)
        guard mine.os == other.os, mine.architecture == other.architecture else { return nil }
        guard mine.osVersion == nil || mine.osVersion == other.osVersion else { return nil }
        let (wanted, found) = (mine.level, other.level)
        guard let wanted, let found else { return mine.variant == other.variant ? 0 : nil }
        return found <= wanted ? wanted - found : nil
    }

    /// The entries of an index that may lead to an image for this platform, the best first, and the platforms of the others.
    func candidates(among entries: [Descriptor]) -> (fitting: [Descriptor], others: [Platform]) {
        var ranked: [(rank: Int, place: Int, entry: Descriptor)] = []
        var others: [Platform] = []
        for (place, entry) in entries.enumerated() {
            guard let platform = entry.platform else {
                // Only its config tells, or it is an index.
                ranked.append((.max, place, entry))
                continue
            }
            if let rank = rank(of: platform) {
                ranked.append((rank, place, entry))
            } else if platform.os != "unknown" {
                // Attestations call theirs unknown.
                others.append(platform)
            }
        }
        return (ranked.sorted { ($0.rank, $0.place) < ($1.rank, $1.place) }.map(\.entry), others)
    }

    /// The names that Docker uses, with the variant left out where it is the usual one.
    private var normalized: Platform {
        var platform = self
        platform.os = os.lowercased() == "macos" ? "darwin" : os.lowercased()
        let variant = variant.map { $0.lowercased() }
        switch architecture.lowercased() {
        case "x86_64", "x86-64": platform.architecture = "amd64"
        case "aarch64": platform.architecture = "arm64"
        case "armhf": (platform.architecture, platform.variant) = ("arm", "v7")
        case "armel": (platform.architecture, platform.variant) = ("arm", "v6")
        case let other: platform.architecture = other
        }
        if let variant, !variant.isEmpty { platform.variant = variant.hasPrefix("v") ? variant : "v\(variant)" }
        return platform
    }

    /// The number of the variant, or of the usual one if none is named.
    private var level: Int? {
        switch (architecture, variant ?? "") {
        case ("arm", ""): 7
        case ("arm64", ""): 8
        case ("amd64", ""): 1
        case ("arm", let variant), ("arm64", let variant), ("amd64", let variant):
            ["v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9"].firstIndex(of: variant).map { $0 + 1 }
        default: nil
        }
    }
}
