import Dispatch
import Foundation
import FuzzTargets

/// The target that `FUZZ_TARGET` names.
private let target: FuzzTarget = {
    let name = ProcessInfo.processInfo.environment["FUZZ_TARGET"] ?? ""
    guard let target = FuzzTarget.all.first(where: { $0.name == name }) else {
        print("set FUZZ_TARGET to one of:", FuzzTarget.all.map(\.name).joined(separator: " "))
        end(2)
    }
    return target
}()

/// Gives one input of libFuzzer's to the target, and ends the process at a fault.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))
    let ended = DispatchSemaphore(value: 0)
    Task.detached {
        do {
            try await target.run(bytes)
        } catch {
            print("fault in \(target.name): \(error)")
            fflush(nil)
            abort()
        }
        ended.signal()
    }
    ended.wait()
    return 0
}

/// Ends the process without libFuzzer's taking it for a fault.
private func end(_ status: CInt) -> Never {
    fflush(nil)
    _exit(status)
}

/// Chooses the target; writes its seeds and ends, if `FUZZ_SEEDS` names the folder to write them to.
@_cdecl("LLVMFuzzerInitialize")
public func initialize(_ count: UnsafeMutableRawPointer?, _ arguments: UnsafeMutableRawPointer?) -> CInt {
    let target = target
    let environment = ProcessInfo.processInfo.environment
    guard let folder = environment["FUZZ_SEEDS"], let fixtures = environment["FUZZ_FIXTURES"] else { return 0 }
    do {
        let root = URL(filePath: fixtures, directoryHint: .isDirectory)
        var number = 0
        let files = FileManager.default.enumerator(at: root, includingPropertiesForKeys: [.isRegularFileKey])
        while let file = files?.nextObject() as? URL {
            guard try file.resourceValues(forKeys: [.isRegularFileKey]).isRegularFile == true else { continue }
            let bytes = try [UInt8](Data(contentsOf: file))
            guard target.begins(with: file.path, bytes) else { continue }
            number += 1
            try Data(bytes).write(to: URL(filePath: "\(folder)/seed-\(number)"))
        }
        end(0)
    } catch {
        print("cannot write the seeds of \(target.name): \(error)")
        end(1)
    }
}
