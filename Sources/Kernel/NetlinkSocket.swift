/// A netlink socket for requests and their answers, blocking, for one thread at a time.
///
/// A request goes through it like this: the batch's bytes leave in one `send`; the kernel handles message after message within
/// that call and queues an acknowledgement for each; `receive` then takes datagrams until every awaited sequence number has
/// its answer. What belongs to an earlier request (given up after its timeout) or to another port is passed over. A dump's
/// answers are collected and only handed out whole: a dump that the kernel marks as interrupted is asked for again.
///
/// The socket belongs for ever to the network namespace in which it was opened, wherever it is used from (netlink(7)).
import CLinux
import Glibc
package import Netlink

package final class NetlinkSocket {
    package let descriptor: Int32
    /// Which namespace and protocol, for error texts.
    package let name: String
    private let port: UInt32
    private let buffer: NetlinkBuffer
    private var sequence: UInt32 = 0

    /// Opens a socket in the calling thread's network namespace.
    /// - Parameters:
    ///   - family: NETLINK_ROUTE or NETLINK_NETFILTER.
    ///   - timeout: how long to wait for each answer.
    ///   - buffer: where answers are received; sockets of one thread may share it.
    package convenience init(
        _ family: Int32, name: String, timeout: Duration = .seconds(10), buffer: NetlinkBuffer = NetlinkBuffer()
    ) throws(KernelError) {
        self.init(adopting: try Self.open(family, name: name), name: name, timeout: timeout, buffer: buffer)
    }

    /// A bound descriptor, on its way from the thread that opened it.
    package struct Opened: Sendable {
        package let descriptor: Int32
        fileprivate let port: UInt32
    }

    /// Takes over what `open` made, perhaps on a thread in another namespace; closes it at the end.
    package init(
        adopting opened: Opened, name: String, timeout: Duration = .seconds(10), buffer: NetlinkBuffer = NetlinkBuffer()
    ) {
        descriptor = opened.descriptor
        port = opened.port
        self.name = name
        self.buffer = buffer
        let (seconds, attoseconds) = timeout.components
        var limit = timeval(tv_sec: Int(seconds), tv_usec: Int(attoseconds / 1_000_000_000_000))
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    }
    deinit { close(descriptor) }

    /// A bound socket with extended acknowledgements, strict checking of dumps and a large receive buffer.
    /// - Parameters:
    ///   - groups: notifications to get, RTNLGRP_… or NFNLGRP_….
    ///   - room: bytes of the receive buffer.
    package static func open(
        _ family: Int32, groups: [UInt32] = [], name: String, room: Int32 = 16 << 20
    ) throws(KernelError) -> Opened {
        let descriptor = socket(AF_NETLINK, Int32(SOCK_RAW.rawValue | SOCK_CLOEXEC.rawValue), family)
        guard descriptor >= 0 else { throw .last("open a netlink socket for \(name)") }
        var address = sockaddr_nl()
        address.nl_family = sa_family_t(AF_NETLINK)
        var length = socklen_t(MemoryLayout<sockaddr_nl>.size)
        // Port 0 asks the kernel to choose one.
        let isBound = withUnsafeMutableBytes(of: &address) {
            let place = $0.baseAddress?.assumingMemoryBound(to: sockaddr.self)
            return bind(descriptor, place, length) == 0 && getsockname(descriptor, place, &length) == 0
        }
        func set(_ level: Int32, _ option: Int32, _ value: Int32) -> Bool {
            var value = value
            return setsockopt(descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size)) == 0
        }
        // The two ...FORCE options need CAP_NET_ADMIN and only make overruns rarer: their failure is none.
        _ = set(SOL_SOCKET, SO_RCVBUFFORCE, room)
        _ = set(SOL_SOCKET, SO_SNDBUFFORCE, 4 << 20)
        let required =
            isBound && set(solNetlink, NETLINK_EXT_ACK, 1) && set(solNetlink, NETLINK_CAP_ACK, 1)
            && (family != NETLINK_ROUTE || set(solNetlink, NETLINK_GET_STRICT_CHK, 1))
            && groups.allSatisfy { set(solNetlink, NETLINK_ADD_MEMBERSHIP, Int32(bitPattern: $0)) }
        guard required else {
            let error = KernelError.last("set up a netlink socket for \(name)")
            close(descriptor)
            throw error
        }
        return Opened(descriptor: descriptor, port: address.nl_pid)
    }
    private static let solNetlink: Int32 = 270

    // MARK: Requests

    /// A batch whose sequence numbers are the next of this socket.
    package func batch(capacity: Int = 4096) -> NetlinkBatch { NetlinkBatch(firstSequence: sequence &+ 1, capacity: capacity) }

    /// Sends the batch in one go and waits for its acknowledgements.
    /// - Returns: for each request what the kernel said; those that asked for no acknowledgement count as done unless the
    ///   kernel complained. A complaint about one of these ends the waiting, because nobody knows whether more follows
    ///   (an nftables transaction is refused by an error for its first message): what was not answered by then is
    ///   reported as ECANCELED.
    package func submit(_ batch: borrowing NetlinkBatch) throws(KernelError) -> [NetlinkAcknowledgement] {
        let count = batch.count
        let acknowledged = batch.acknowledged
        var answers = [NetlinkAcknowledgement?](repeating: nil, count: count)
        var awaited = acknowledged.count { $0 }
        try send(batch)
        while awaited > 0 {
            let error = try receive { (message) throws(NetlinkError) in
                let index = Int(message.sequence &- batch.firstSequence)
                guard message.type == NLMSG_ERROR, index < count, answers[index] == nil else { return }
                answers[index] = try NetlinkAcknowledgement(message)
                awaited = acknowledged[index] ? awaited - 1 : 0
            }
            if let error { throw KernelError(error, "read acknowledgements of \(name)") }
        }
        return answers.enumerated().map { index, answer in
            answer ?? NetlinkAcknowledgement(errno: acknowledged[index] ? ECANCELED : 0)
        }
    }

    /// One request; throws what the kernel refuses.
    package func request(
        _ operation: @autoclosure () -> String, type: some BinaryInteger, flags: some BinaryInteger = UInt16(0),
        _ body: (inout NetlinkWriter) -> Void
    ) throws(KernelError) {
        var batch = batch(capacity: 512)
        batch.add(type: type, flags: flags, body)
        for answer in try submit(batch) where answer.errno != 0 { throw KernelError(answer, operation()) }
    }

    /// A request that is answered by messages: a dump (with NLM_F_DUMP) or a single object (without).
    /// - Parameter row: reads one message; nil passes over it. It must not use a socket that shares this one's buffer.
    package func collect<Row>(
        _ operation: @autoclosure () -> String, type: some BinaryInteger, flags: some BinaryInteger = NLM_F_DUMP,
        _ body: (inout NetlinkWriter) -> Void, row: (NetlinkMessage) throws(NetlinkError) -> Row?
    ) throws(KernelError) -> [Row] {
        for _ in 0..<Self.dumpAttempts {
            var batch = batch(capacity: 128)
            // A dump ends with NLMSG_DONE and needs no acknowledgement; a single answer is followed by one.
            batch.add(type: type, flags: flags, acknowledged: Int(flags) & Int(NLM_F_DUMP) != Int(NLM_F_DUMP), body)
            if let rows = try collectOnce(batch, operation, row) { return rows }
        }
        throw KernelError(.interrupted, operation(), cause: "it changed during each of \(Self.dumpAttempts) attempts")
    }
    private static let dumpAttempts = 20

    /// nil when the dump was interrupted or did not fit the buffer, which has grown since.
    private func collectOnce<Row>(
        _ batch: borrowing NetlinkBatch, _ operation: () -> String, _ row: (NetlinkMessage) throws(NetlinkError) -> Row?
    ) throws(KernelError) -> [Row]? {
        var rows: [Row] = []
        var interrupted = false
        var end: NetlinkAcknowledgement?
        try send(batch)
        while end == nil {
            let size = buffer.size
            let error: NetlinkError?
            do throws(KernelError) {
                error = try receive { (message) throws(NetlinkError) in
                    guard message.sequence == batch.firstSequence, end == nil else { return }
                    interrupted = interrupted || message.flags & Int(NLM_F_DUMP_INTR) != 0
                    if message.type == NLMSG_ERROR || message.type == NLMSG_DONE {
                        end = try NetlinkAcknowledgement(message)
                    } else if let value = try row(message) {
                        rows.append(value)
                    }
                }
            } catch {
                guard buffer.size > size else { throw error }
                return nil
            }
            if let error { throw KernelError(error, operation()) }
        }
        guard let end, end.errno != 0 else { return interrupted ? nil : rows }
        switch end.errno {
        case EBUSY:
            // A dump that was given up (an answer did not fit, could not be read, or came too late) is still going on.
            abandon()
            return nil
        case EINTR, EAGAIN:
            // The kernel's way to say "interrupted" where it has no flag for it (nf_tables).
            return nil
        default:
            throw KernelError(end, operation())
        }
    }

    /// Takes what is left of a dump, for a socket can have only one at a time. The kernel makes each part when the one before is taken,
    /// so the first moment of silence is the end.
    private func abandon() {
        while true {
            do throws(KernelError) {
                guard try datagram(flags: Int32(MSG_DONTWAIT)) != nil else { return }
            } catch {
                guard error.code == .overrun else { return }
            }
        }
    }

    private func send(_ batch: borrowing NetlinkBatch) throws(KernelError) {
        sequence = batch.firstSequence &+ UInt32(batch.count) &- 1
        guard !batch.isOversized else {
            throw KernelError(.invalid, "send requests to \(name)", cause: "an attribute is longer than 65535 bytes")
        }
        let sent = batch.withBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, 0) }
        guard sent == batch.byteCount else { throw .last("send requests to \(name)") }
    }

    // MARK: Receiving

    /// Waits for one datagram from the kernel and hands out those of its messages that are for this socket's port. An error thrown
    /// by `each` is returned, after the whole datagram was handed out.
    private func receive(_ each: (NetlinkMessage) throws(NetlinkError) -> Void) throws(KernelError) -> NetlinkError? {
        let datagram = try datagram(flags: 0)
        guard let datagram else {
            throw KernelError(.timedOut, "wait for an answer of \(name)", cause: "the kernel did not answer in time")
        }
        var problem: NetlinkError?
        var messages = NetlinkMessages(datagram)
        while let message = messages.next() {
            guard message.port == port else { continue }
            do { try each(message) } catch { problem = error }
        }
        return messages.isGarbled ? NetlinkError(.malformed, "an answer ends in bytes that are no message") : problem
    }

    /// Takes what multicast notifications wait, without waiting for any.
    /// - Returns: false when some were lost: the reader must look at everything anew.
    package func drain(_ each: (NetlinkMessage) throws(NetlinkError) -> Void) throws(KernelError) -> Bool {
        var complete = true
        while true {
            do throws(KernelError) {
                guard let datagram = try datagram(flags: Int32(MSG_DONTWAIT)) else { return complete }
                var messages = NetlinkMessages(datagram)
                while let message = messages.next() {
                    do { try each(message) } catch { complete = false }
                }
                if messages.isGarbled { complete = false }
            } catch {
                guard error.code == .overrun else { throw error }
                complete = false
            }
        }
    }

    /// One datagram that came from the kernel; nil when none came in time.
    private func datagram(flags: Int32) throws(KernelError) -> UnsafeRawBufferPointer? {
        while true {
            var sender = sockaddr_nl()
            var length = socklen_t(MemoryLayout<sockaddr_nl>.size)
            let room = buffer.bytes
            let count = withUnsafeMutableBytes(of: &sender) {
                recvfrom(
                    descriptor, room.baseAddress, room.count, flags | Int32(MSG_TRUNC),
                    $0.baseAddress?.assumingMemoryBound(to: sockaddr.self), &length)
            }
            guard count >= 0 else {
                switch errno {
                case EINTR: continue
                case EAGAIN: return nil
                default: throw .last("receive from \(name)")
                }
            }
            guard count <= room.count else {
                buffer.grow(to: count)
                throw KernelError(.overrun, "receive from \(name)", cause: "an answer of \(count) bytes did not fit")
            }
            // Port 0 is the kernel: other programs can send to our port too.
            if sender.nl_pid == 0 { return UnsafeRawBufferPointer(rebasing: room[..<count]) }
        }
    }
}

/// Where sockets of one thread receive; shared, because hundreds of namespaces have sockets and one is read at a time.
package final class NetlinkBuffer {
    fileprivate private(set) var bytes: UnsafeMutableRawBufferPointer

    /// Dumps come in datagrams of at most 32 KiB; the kernel fills what it is offered.
    package init(size: Int = 64 << 10) { bytes = .allocate(byteCount: size, alignment: 16) }
    deinit { bytes.deallocate() }

    fileprivate var size: Int { bytes.count }
    fileprivate func grow(to needed: Int) {
        bytes.deallocate()
        bytes = .allocate(byteCount: needed * 2, alignment: 16)
    }
}
