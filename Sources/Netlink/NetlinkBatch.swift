/// Several requests for one send. Each gets the next sequence number and, unless told otherwise, asks for an
/// acknowledgement, so that the sender knows of each whether the kernel did it.
import CLinux

package struct NetlinkBatch: ~Copyable {
    private var writer: NetlinkWriter
    /// Whether the request with that index asks for an acknowledgement.
    package private(set) var acknowledged: [Bool] = []
    /// The sequence number of the first request.
    package let firstSequence: UInt32

    package init(firstSequence: UInt32, capacity: Int = 4096) {
        self.firstSequence = firstSequence
        writer = NetlinkWriter(capacity: capacity)
    }

    /// Requests in it.
    package var count: Int { acknowledged.count }
    /// Bytes in it.
    package var byteCount: Int { writer.count }
    package var isOversized: Bool { writer.isOversized }

    /// Adds a request; NLM_F_REQUEST and, if `acknowledged`, NLM_F_ACK are set besides `flags`.
    package mutating func add(
        type: some BinaryInteger, flags: some BinaryInteger = UInt16(0), acknowledged wanted: Bool = true,
        _ body: (inout NetlinkWriter) -> Void
    ) {
        let all = Int(flags) | Int(NLM_F_REQUEST) | (wanted ? Int(NLM_F_ACK) : 0)
        writer.message(type: type, flags: all, sequence: firstSequence &+ UInt32(count), body)
        acknowledged.append(wanted)
    }

    package borrowing func withBytes<Result, Failure: Error>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try writer.withBytes(body)
    }
}
