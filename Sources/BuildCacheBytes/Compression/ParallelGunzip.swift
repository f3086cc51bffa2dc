import BuildCacheCore
import NIOCore

/// Decompresses gzip, several members at once where it can tell them apart.
///
/// A gzip stream does not say where its members end. But every member that this package writes, or BuildKit, begins with
/// nearly the same ten bytes, so wherever these stand one may begin. Such a guess is right if and only if decompressing
/// the member before ends exactly there: wrong guesses cost time, never bytes. Members too large to be held in memory,
/// and everything behind them, are decompressed as a stream, and so is what seems damaged: that is what names the damage.
final class ParallelGunzip {
    // What this package and BuildKit write comes to 4 MiB and some headers at most.
    private static let maximumMemberSize = 6 << 20
    private static let maximumContentSize = 8 << 20
    // Smaller members are decompressed several at a time.
    private static let batchSize = 1 << 20
    // Compressed files inside a layer look like members of it; so many of them are taken before giving up on guessing.
    private static let maximumWrongGuesses = 64

    private struct Batch {
        var offset: Int64
        var members: [ByteBuffer]
        var inflated: Ahead<(content: ByteBuffer, count: Int)>
    }

    private let stop: Int64?
    private let limit = min(Workers.processors.threads, 16) + 1
    // What was read and is in no batch yet; it begins at a member, if all guesses were right.
    private var input: ByteBuffer
    private var offset: Int64 = 0
    private var isInputAtEnd = false
    // Up to here, from the beginning of the input, no member ends.
    private var searched = 0
    private var batches: [Batch] = []
    private var wrongGuesses = 0
    private var stream: Decompressing?

    /// With `stop`, the member that begins at this offset is the first one past the caller's part.
    init(_ input: ByteBuffer = ByteBuffer(), stop: Int64? = nil) {
        self.input = input
        self.stop = stop
    }

    func next(from stored: inout BlobStream.AsyncIterator) async throws -> (chunk: ByteBuffer, isPastStop: Bool)? {
        while true {
            if let stream { return try await stream.next(from: &stored) }
            try Task.checkCancellation()
            try await fill(from: &stored)
            guard let batch = batches.first else {
                if isInputAtEnd, input.readableBytes == 0, stop.map({ offset >= $0 }) ?? true { return nil }
                stream = Decompressing(try GzipDecompressor(stop: stop, offset: offset), input)
                input = ByteBuffer()
                continue
            }
            batches.removeFirst()
            let (content, count) = await batch.inflated.value()
            if count < batch.members.count { takeBack(batch, from: count) }
            if content.readableBytes > 0 { return (content, stop.map { batch.offset >= $0 } ?? false) }
        }
    }

    /// Starts on further batches for as long as there is something to start on.
    private func fill(from stored: inout BlobStream.AsyncIterator) async throws {
        while batches.count < limit, wrongGuesses < ParallelGunzip.maximumWrongGuesses {
            let start = offset
            let members = cutBatch()
            if !members.isEmpty {
                let inflated = Ahead { GzipInflater.inflate(members) }
                batches.append(Batch(offset: start, members: members, inflated: inflated))
            } else if isInputAtEnd || input.readableBytes >= ParallelGunzip.maximumMemberSize {
                return
            } else if let chunk = try await stored.next() {
                append(chunk)
            } else {
                isInputAtEnd = true
            }
        }
    }

    private func append(_ chunk: ByteBuffer) {
        guard input.readableBytes > 0 else { return input = chunk }
        // Else all that was ever read from it would be kept. Nothing moves where nothing was read since the last chunk, so small
        // chunks of a large member cost no more than large ones.
        input.discardReadBytes()
        input.writeImmutableBuffer(chunk)
    }

    /// Cuts members off the input, if it can tell where they end: a large one, or several small ones.
    private func cutBatch() -> [ByteBuffer] {
        var members: [ByteBuffer] = []
        var total = 0
        while total < ParallelGunzip.batchSize, let (end, size) = nextEnd(),
            members.isEmpty || total + size <= ParallelGunzip.batchSize, let member = input.readSlice(length: end)
        {
            members.append(member)
            total += size
            offset += Int64(end)
            searched = 0
            // What is behind the stop is no part of the same batch.
            if offset == stop { break }
        }
        return members
    }

    /// Where the member that the input begins with seems to end, and how long it then is uncompressed.
    private func nextEnd() -> (end: Int, size: Int)? {
        let untilStop = stop.map { $0 > offset ? $0 - offset : .max } ?? .max
        while let end = nextGuess(untilStop), end <= untilStop {
            let size = GzipInflater.uncompressedSize(ofMemberEndingAt: input.readerIndex + end, in: input)
            if let size, size <= ParallelGunzip.maximumContentSize { return (end, size) }
            searched = end
        }
        return nil
    }

    /// Where, from the beginning of the input, the next member may begin, or the input ends.
    private func nextGuess(_ untilStop: Int64) -> Int? {
        let count = input.readableBytes
        let found = input.withUnsafeReadableBytes { GzipMember.firstHeader(in: $0, from: searched + 1) }
        if untilStop > searched, untilStop <= count, found.map({ $0 > untilStop }) ?? true { return Int(untilStop) }
        if let found { return found }
        if isInputAtEnd { return count > searched ? count : nil }
        searched = max(searched, count - GzipMember.headerSize)
        return nil
    }

    /// Puts everything from a member on back into the input: the guess where it ends was wrong, or it is damaged.
    private func takeBack(_ batch: Batch, from index: Int) {
        wrongGuesses += 1
        offset = batch.offset + batch.members[..<index].reduce(0) { $0 + Int64($1.readableBytes) }
        searched = batch.members[index].readableBytes
        let rest = input
        input = ByteBuffer()
        for member in batch.members[index...] { input.writeImmutableBuffer(member) }
        for member in batches.flatMap(\.members) { input.writeImmutableBuffer(member) }
        input.writeImmutableBuffer(rest)
        batches = []
    }
}
