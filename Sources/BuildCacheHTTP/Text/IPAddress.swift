package import BuildCacheCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// The 4 or 16 bytes of an IP address, `nil` for any other text.
///
/// An IPv4 address in the form of an IPv6 one (`::ffff:127.0.0.1`) is the IPv4 address: it reaches the same machine.
func parseAddress(_ text: String) -> [UInt8]? {
    for (family, count) in [(AF_INET, 4), (AF_INET6, 16)] {
        var bytes = [UInt8](repeating: 0, count: count)
        guard inet_pton(family, text, &bytes) == 1 else { continue }
        let isMapped = count == 16 && bytes[..<12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]
        return isMapped ? Array(bytes[12...]) : bytes
    }
    return nil
}

extension ServiceURL {
    /// Whether the host is this machine: `localhost`, 127/8 or ::1.
    package var isLoopback: Bool { Self.isLoopback(host) }

    /// Whether a host without its port is this machine.
    package static func isLoopback(_ host: String) -> Bool {
        if host == "localhost" { return true }
        guard let address = address(host) else { return false }
        return address.count == 4 ? address[0] == 127 : address == [UInt8](repeating: 0, count: 15) + [1]
    }

    /// Whether the host is an address of this link, where metadata services are: 169.254/16, fe80::/10, and Amazon's own fd00:ec2::/32.
    ///
    /// Such a service identifies a machine by the connection alone, so a proxy would get the identity of its own machine.
    package var isLinkLocal: Bool {
        guard let address = Self.address(host) else { return false }
        if address.count == 4 { return address[0] == 169 && address[1] == 254 }
        return (address[0] == 0xFE && address[1] & 0xC0 == 0x80) || address[..<4] == [0xFD, 0x00, 0x0E, 0xC2]
    }

    private static func address(_ host: String) -> [UInt8]? {
        parseAddress(host.hasPrefix("[") && host.hasSuffix("]") ? String(host.dropFirst().dropLast()) : host)
    }
}
