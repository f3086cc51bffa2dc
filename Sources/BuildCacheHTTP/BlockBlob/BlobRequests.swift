package import BuildCacheCore
import NIOCore
import NIOHTTP1

/// Sends requests to the storage service, each signed anew.
///
/// - Source: Azure Storage REST API, "Blob service"; `Documentation/Spec/backends.md` §6.
package struct BlobRequests: Sendable {
    package let transport: HTTPTransport
    let authorization: any BlobAuthorization
    private let localTime: @Sendable () -> Timestamp
    private let clock = ClockOffset()

    /// The time at the service, as far as it is known to differ from that of this machine.
    package func now() -> Timestamp { clock.corrected(localTime()) }

    /// The version of the protocol, the one that BuildKit speaks.
    package static let version = "2024-11-04"

    package init(
        _ authorization: any BlobAuthorization, transport: HTTPTransport,
        now: @escaping @Sendable () -> Timestamp = { .now() }
    ) {
        self.authorization = authorization
        self.transport = transport
        localTime = now
    }

    /// Sends a request until it is answered.
    ///
    /// - Parameter retries: The tries of the operation; `nil` sends once, but for a token that has ended early.
    /// - Returns: The answer, which may be a refusal.
    /// - Throws: `CacheError` `.unavailable` when all tries are used up; what the source of the body throws.
    package func send(_ request: OutgoingRequest, retries: Retries?) async throws -> IncomingResponse {
        var rejectedToken = false
        var isCorrected = false
        while true {
            var signed = request
            signed.headers.replaceOrAdd(name: "x-ms-version", value: BlobRequests.version)
            // A date is part of the signature, so what is sent again is signed again.
            let time = now()
            try await authorization.authorize(&signed, now: time)
            do {
                let response = try await transport.sendOnce(signed)
                let date = response.headers.first(name: "Date")
                if response.status == .forbidden, authorization.signsTime, !isCorrected,
                    clock.learn(from: date, signedAt: time, local: localTime(), transport.logger)
                {
                    isCorrected = true
                    await response.discard()
                    continue
                }
                guard response.status == .unauthorized, !rejectedToken, authorization.forgetToken() else {
                    return response
                }
                rejectedToken = true
                await response.discard()
            } catch let failure as SourceFailure {
                throw failure.cause
            } catch let error as CacheError {
                guard let retries else { throw error }
                try await retries.pause(after: error)
            }
        }
    }

    /// The error that an answer is, and the service's name for it.
    package func failure(_ response: IncomingResponse, _ request: OutgoingRequest) async -> BlobFailure {
        let failure = await response.failure()
        let code = response.shown(response.headers.first(name: "x-ms-error-code")) ?? failure.code ?? ""
        var error = failure.error
        if !code.isEmpty { error.message = "\(request.summary) returned \(failure.status) \(code)" }
        error.message += authorization.advice(failure.status, code, response.url, now: now())
        // A container that is being deleted can be made again when it is gone.
        if code == "ContainerBeingDeleted" || code == "OperationTimedOut" || code == "ServerBusy" {
            error.code = .unavailable
            error.retry = .worthwhile
        }
        if ["BlobArchived", "BlobBeingRehydrated"].contains(code) {
            error.code = .notFound
            error.retry = .never
            error.cause = BlobProperties.archived
            error.message +=
                "; the blob is archived and cannot be read now: export again, or rehydrate it, and exempt the cache from lifecycle rules that archive"
        }
        return BlobFailure(status: failure.status, code: code, error: error)
    }
}

/// How the service refused.
package struct BlobFailure: Sendable {
    package var status: Int
    /// As in `BlobNotFound`, empty if it gave no name.
    package var code: String
    package var error: CacheError

    /// Whether a condition on what is there was not met.
    ///
    /// The service says 409 to a blob that must not be there, emulators 412.
    package var isConflict: Bool { status == 412 || (status == 409 && code == "BlobAlreadyExists") }
    package var isAbsence: Bool { status == 404 }
}
