import Addressing
import CLinux
import Glibc
import Netlink
import Testing

@Suite("Netlink messages")
struct MessageTests {
    @Test("a link reads as it was written", arguments: 0..<300)
    func link(seed: Int) throws {
        var random = SeededRandom(seed: UInt64(seed))
        let link = LinkMessage.random(&random, depth: 0)
        #expect(try read(type: RTM_NEWLINK, { link.write(to: &$0) }, LinkMessage.init) == link)
    }

    @Test("an address reads as it was written", arguments: 0..<300)
    func address(seed: Int) throws {
        var random = SeededRandom(seed: UInt64(seed))
        let address = AddressMessage.random(&random)
        #expect(try read(type: RTM_NEWADDR, { address.write(to: &$0) }, AddressMessage.init) == address)
    }

    @Test("a neighbour reads as it was written", arguments: 0..<300)
    func neighbor(seed: Int) throws {
        var random = SeededRandom(seed: UInt64(seed))
        let neighbor = NeighborMessage.random(&random)
        #expect(try read(type: RTM_NEWNEIGH, { neighbor.write(to: &$0) }, NeighborMessage.init) == neighbor)
    }

    @Test("a route reads as it was written", arguments: 0..<300)
    func route(seed: Int) throws {
        var random = SeededRandom(seed: UInt64(seed))
        let route = RouteMessage.random(&random)
        #expect(try read(type: RTM_NEWROUTE, { route.write(to: &$0) }, RouteMessage.init) == route)
    }

    @Test("a route's attributes that change its meaning and are not known are told")
    func unknownAttributes() throws {
        var random = SeededRandom(seed: 1)
        let route = RouteMessage.random(&random)
        let read = try read(type: RTM_NEWROUTE, {
            route.write(to: &$0)
            $0.attribute(RTA_FLOW.rawValue, 1 as UInt32)
        }, RouteMessage.init)
        #expect(read.unknown == [Int(RTA_FLOW.rawValue)])
    }

    @Test("the bytes of a request are those that the kernel's headers describe")
    func goldenBytes() throws {
        var writer = NetlinkWriter()
        writer.message(type: RTM_NEWLINK, flags: NLM_F_REQUEST | NLM_F_ACK, sequence: 7) {
            LinkMessage(index: 3, name: "ep1", isUp: true, mtu: 1450).write(to: &$0)
        }
        let expected: [UInt8] = [
            48, 0, 0, 0, 16, 0, 5, 0, 7, 0, 0, 0, 0, 0, 0, 0,  // nlmsghdr
            0, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0,  // ifinfomsg
            8, 0, 3, 0, 0x65, 0x70, 0x31, 0,  // IFLA_IFNAME "ep1"
            8, 0, 4, 0, 0xaa, 5, 0, 0,  // IFLA_MTU 1450
        ]
        #expect(writer.withBytes { Array($0) } == expected)
    }

    @Test("texts of every length end with a zero byte and are padded with zeros", arguments: 0...9)
    func strings(length: Int) {
        let text = String(repeating: "x", count: length)
        var writer = NetlinkWriter()
        // What the buffer held before must not shine through.
        writer.message(type: 1, flags: 0, sequence: 0) { $0.attribute(9, string: text) }
        writer.withBytes { bytes in
            let padded = (length + 1 + 3) & ~3
            #expect(Array(bytes[20...]) == Array(text.utf8) + Array(repeating: 0, count: padded - length))
            #expect(NetlinkAttributes(UnsafeRawBufferPointer(rebasing: bytes[16...]))[9]?.string == text)
        }
    }

    @Test("an attribute too long for its length field marks the buffer")
    func oversized() {
        var writer = NetlinkWriter()
        writer.message(type: 1, flags: 0, sequence: 0) { $0.attribute(1, bytes: [UInt8](repeating: 1, count: 65531)) }
        let before = writer.isOversized
        writer.message(type: 1, flags: 0, sequence: 0) { $0.attribute(1, bytes: [UInt8](repeating: 1, count: 65532)) }
        let after = writer.isOversized
        #expect(!before && after)
        var nested = NetlinkWriter()
        nested.message(type: 1, flags: 0, sequence: 0) {
            $0.nest(1) { for _ in 0..<9 { $0.attribute(1, bytes: [UInt8](repeating: 1, count: 8000)) } }
        }
        let isOversized = nested.isOversized
        #expect(isOversized)
    }

    @Test("the requests of a batch are numbered one after another, over the end of the numbers too")
    func batches() {
        var batch = NetlinkBatch(firstSequence: .max)
        batch.add(type: RTM_NEWLINK, flags: NLM_F_CREATE) { _ in }
        batch.add(type: RTM_NEWADDR, acknowledged: false) { _ in }
        batch.withBytes { bytes in
            let messages = Array(NetlinkMessages(bytes))
            #expect(messages.map(\.sequence) == [.max, 0])
            #expect(messages.map(\.flags) == [Int(NLM_F_CREATE | NLM_F_REQUEST | NLM_F_ACK), Int(NLM_F_REQUEST)])
        }
        let acknowledged = batch.acknowledged
        #expect(acknowledged == [true, false])
    }
}

@Suite("Netlink acknowledgements")
struct AcknowledgementTests {
    private func acknowledgement(
        errno: Int32, flags: Int32, echoed: [UInt8] = [], text: String?, type: Int32 = NLMSG_ERROR
    ) throws -> NetlinkAcknowledgement {
        var writer = NetlinkWriter()
        writer.message(type: type, flags: flags, sequence: 1) {
            if type == NLMSG_ERROR {
                var error = nlmsgerr()
                error.error = -errno
                error.msg.nlmsg_len = UInt32(16 + echoed.count)
                $0.append(error)
                $0.append(bytes: echoed)
            } else {
                $0.append(-errno)
            }
            if let text { $0.attribute(NLMSGERR_ATTR_MSG.rawValue, string: text) }
        }
        return try writer.withBytes { bytes in
            var messages = NetlinkMessages(bytes)
            let message = messages.next()
            return try NetlinkAcknowledgement(#require(message))
        }
    }

    @Test("a success has number 0 and no text")
    func success() throws {
        #expect(try acknowledgement(errno: 0, flags: NLM_F_CAPPED, text: nil) == NetlinkAcknowledgement(errno: 0))
    }

    @Test("the text is found behind the request that is sent back, or where that is left out", arguments: [0, 3, 40])
    func text(echoed: Int) throws {
        let bytes = [UInt8](repeating: 0xff, count: echoed)
        let long = try acknowledgement(errno: EEXIST, flags: NLM_F_ACK_TLVS, echoed: bytes, text: "taken")
        #expect(long == NetlinkAcknowledgement(errno: EEXIST, text: "taken"))
        let short = try acknowledgement(errno: EINVAL, flags: NLM_F_ACK_TLVS | NLM_F_CAPPED, text: "no")
        #expect(short == NetlinkAcknowledgement(errno: EINVAL, text: "no"))
        let end = try acknowledgement(errno: EBUSY, flags: NLM_F_ACK_TLVS, text: "later", type: NLMSG_DONE)
        #expect(end == NetlinkAcknowledgement(errno: EBUSY, text: "later"))
    }

    @Test("without the flag nothing is taken for a text")
    func noText() throws {
        #expect(try acknowledgement(errno: EEXIST, flags: NLM_F_CAPPED, text: "taken").text == nil)
    }
}

@Suite("Netlink parsers on garbage")
struct GarbageTests {
    /// Everything that reads.
    private func readAll(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { bytes in
            var messages = NetlinkMessages(bytes)
            while let message = messages.next() {
                _ = try? LinkMessage(message)
                _ = try? AddressMessage(message)
                _ = try? NeighborMessage(message)
                _ = try? GroupMessage(message)
                _ = try? BridgePortMessage(message)
                _ = try? RouteMessage(message)
                _ = try? NetlinkAcknowledgement(message)
                walk(message.attributes(after: rtmsg.self), depth: 0)
            }
        }
    }

    private func walk(_ attributes: NetlinkAttributes, depth: Int) {
        for attribute in attributes {
            _ = attribute.string
            _ = try? attribute.address()
            _ = try? attribute.mac()
            _ = try? attribute.value(UInt64.self)
            _ = try? attribute.bigEndian(UInt16.self)
            if depth < 4 { walk(attribute.attributes, depth: depth + 1) }
        }
    }

    private func randomMessage(_ random: inout SeededRandom) -> [UInt8] {
        var writer = NetlinkWriter()
        switch Int.random(in: 0..<4, using: &random) {
        case 0:
            let link = LinkMessage.random(&random, depth: 0)
            writer.message(type: RTM_NEWLINK, flags: 0, sequence: 1) { link.write(to: &$0) }
        case 1:
            let address = AddressMessage.random(&random)
            writer.message(type: RTM_NEWADDR, flags: 0, sequence: 1) { address.write(to: &$0) }
        case 2:
            let neighbor = NeighborMessage.random(&random)
            writer.message(type: RTM_NEWNEIGH, flags: 0, sequence: 1) { neighbor.write(to: &$0) }
        default:
            let route = RouteMessage.random(&random)
            writer.message(type: RTM_NEWROUTE, flags: 0, sequence: 1) { route.write(to: &$0) }
        }
        return writer.withBytes { Array($0) }
    }

    @Test("random bytes are read to their end", arguments: 0..<50)
    func noise(seed: Int) {
        var random = SeededRandom(seed: UInt64(seed))
        for _ in 0..<100 {
            var bytes = (0..<Int.random(in: 0...120, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
            // Half of them begin with a length that fits.
            if bytes.count > 4, Bool.random(using: &random) { bytes.replaceSubrange(0..<4, with: [UInt8(bytes.count), 0, 0, 0]) }
            readAll(bytes)
        }
    }

    @Test("messages cut off at any byte are read", arguments: 0..<30)
    func truncated(seed: Int) {
        var random = SeededRandom(seed: UInt64(seed))
        let bytes = randomMessage(&random)
        for length in 0...bytes.count {
            var cut = Array(bytes[..<length])
            readAll(cut)
            // The outer length agrees: what is inside is cut.
            if length >= 4 { cut.replaceSubrange(0..<4, with: [UInt8(length & 0xff), UInt8(length >> 8), 0, 0]) }
            readAll(cut)
        }
    }

    @Test("messages with changed bytes are read", arguments: 0..<60)
    func mutated(seed: Int) {
        var random = SeededRandom(seed: UInt64(seed))
        for _ in 0..<30 {
            var bytes = randomMessage(&random)
            for _ in 0..<Int.random(in: 1...6, using: &random) {
                let place = Int.random(in: 0..<bytes.count, using: &random)
                bytes[place] = [0, 1, 3, 4, 0x7f, 0x80, 0xff, UInt8.random(in: 0...255, using: &random)].randomElement(using: &random) ?? 0
            }
            readAll(bytes)
        }
    }

    @Test("what does not fit ends the walk and is told")
    func leftover() {
        let bytes: [UInt8] = [16, 0, 0, 0] + [UInt8](repeating: 0, count: 12) + [200, 0, 0, 0] + [UInt8](repeating: 0, count: 12)
        bytes.withUnsafeBytes { bytes in
            var messages = NetlinkMessages(bytes)
            let first = messages.next(), second = messages.next()
            #expect(first != nil && second == nil && messages.isGarbled)
        }
    }
}

/// What `parse` makes of a message that `write` fills.
private func read<Value>(
    type: Int, _ write: (inout NetlinkWriter) -> Void, _ parse: (NetlinkMessage) throws -> Value
) throws -> Value {
    var writer = NetlinkWriter(capacity: 64)
    writer.message(type: type, flags: 0, sequence: 1, write)
    return try writer.withBytes { bytes in
        var messages = NetlinkMessages(bytes)
        let message = messages.next(), rest = messages.next()
        #expect(rest == nil && !messages.isGarbled)
        return try parse(#require(message))
    }
}
