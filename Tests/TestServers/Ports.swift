import Foundation
import Synchronization
import TestTools

/// A port of this machine on which nobody listens now, and which no other caller in this process gets.
///
/// It lies below the ports that systems hand out by themselves: a server of another test that asks for any port does not get
/// this one before its user has it.
package func freePort() throws -> Int {
    for _ in 0..<1000 {
        let port = Int.random(in: 10_000..<32_768)
        guard handedOut.withLock({ $0.insert(port).inserted }) else { continue }
        let socket = try makeSocket()
        defer { close(socket) }
        if loopback(port: port, { bind(socket, $0, $1) }) == 0 { return port }
    }
    throw ToolFailure(tool: "bind", end: .exited(errno))
}

private let handedOut = Mutex<Set<Int>>([])

/// Returns when somebody listens on a port of this machine, or throws after so many tries as take two minutes.
///
/// Tries are counted as in ``retrying(_:)``.
///
/// - Returns: False if nobody does and `isAlive` says that it is of no use to wait.
func waitForListener(_ port: Int, while isAlive: () -> Bool) async throws -> Bool {
    for _ in 0..<12_000 {
        let socket = try makeSocket()
        defer { close(socket) }
        if loopback(port: port, { connect(socket, $0, $1) }) == 0 { return true }
        guard isAlive() else { return false }
        try await ContinuousClock().sleep(for: .milliseconds(10))
    }
    throw ToolFailure(tool: "port \(port)", end: .exited(1))
}

/// Calls `body` until it succeeds, 300 times at most with a fifth of a second between them: servers need a while until all of them works.
///
/// Tries are counted and not seconds: where hundreds of tests share two cores, minutes may pass between two tries.
package func retrying(_ body: () async throws -> Void) async throws {
    for _ in 1..<300 {
        do { return try await body() } catch { try await ContinuousClock().sleep(for: .milliseconds(200)) }
    }
    try await body()
}

private func makeSocket() throws -> CInt {
    #if canImport(Darwin)
        let descriptor = socket(AF_INET, SOCK_STREAM, 0)
    #else
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    #endif
    guard descriptor >= 0 else { throw ToolFailure(tool: "socket", end: .exited(errno)) }
    return descriptor
}

private func loopback(port: Int, _ call: (UnsafePointer<sockaddr>, socklen_t) -> CInt) -> CInt {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = UInt16(port).bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    return withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { call($0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
    }
}
