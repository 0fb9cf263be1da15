import Addressing
import Testing

@Suite struct AddressTests {
    @Test("addresses read as they are written", arguments: [
        ("10.0.0.1", "10.0.0.1"), ("255.255.255.255", "255.255.255.255"), ("::", "::"), ("::1", "::1"), ("FD00:0:0::1", "fd00::1"),
        ("1:0:0:2:0:0:0:3", "1:0:0:2::3"), ("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"), ("::ffff:10.0.0.1", "::ffff:a00:1"),
        ("1:0:3:4:5:6:7:8", "1:0:3:4:5:6:7:8"), ("1::", "1::"), ("0:0:1::", "0:0:1::"),
    ])
    func text(input: String, output: String) throws {
        let address = try #require(IPAddress(input))
        #expect(address.description == output)
        #expect(IPAddress(address.description) == address)
        #expect(IPAddress(bytes: address.bytes) == address)
    }

    @Test("what is no address is refused", arguments: [
        "", "1", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1.2.3.4 ", "+1.2.3.4", ":", ":::", "1:2", "1::2::3", "12345::", "g::", "1:2:3:4:5:6:7:8:9",
        "1:2:3:4:5:6:7::8", "::1.2.3", "::+1", "fe80::1%eth0", "1:2:3:4:5:6:7:", ":1:2:3:4:5:6:7", "::1.2.3.4:5",
    ])
    func junk(text: String) { #expect(IPAddress(text) == nil) }

    @Test("random text never traps and what parses prints back", arguments: 0..<50)
    func fuzz(seed: Int) {
        let alphabet = Array("0123456789abcdf:./:: ")
        for _ in 0..<200 {
            let text = String((0..<Int.random(in: 0..<24)).compactMap { _ in alphabet.randomElement() })
            if let address = IPAddress(text) { #expect(IPAddress(address.description) == address) }
            if let prefix = IPPrefix(text) { #expect(IPPrefix(prefix.description) == prefix) }
            if let mac = MACAddress(text) { #expect(MACAddress(mac.description) == mac) }
        }
    }

    @Test("a prefix with host bits is no prefix but an interface's address", arguments: ["10.32.0.1/16", "fd00::1/64"])
    func hostBits(text: String) throws {
        #expect(IPPrefix(text) == nil)
        let address = try #require(InterfaceAddress(text))
        #expect(address.prefix.contains(address.address))
        #expect(address.description == text)
    }

    @Test("blocks tile their prefix")
    func blocks() throws {
        let prefix = try #require(IPPrefix("10.32.0.0/22"))
        #expect(prefix.blockCount(length: 26) == 16)
        let blocks = (0..<16).compactMap { prefix.block($0, length: 26) }
        #expect(Set(blocks).count == 16 && blocks.allSatisfy { prefix.contains($0) })
        #expect(prefix.block(16, length: 26) == nil)
        #expect(zip(blocks, blocks.dropFirst()).allSatisfy { !$0.overlaps($1) })
        #expect(blocks.last?.last == prefix.last)
    }

    @Test("the whole space is a prefix too", arguments: ["0.0.0.0/0", "::/0"])
    func whole(text: String) throws {
        let prefix = try #require(IPPrefix(text))
        #expect(prefix.contains(prefix.last) && prefix.last.advanced(by: 1) == nil)
        #expect(prefix.block(1, length: 1)?.length == 1)
    }

    @Test("a MAC's link-local address is its modified EUI-64")
    func linkLocal() throws {
        let mac = try #require(MACAddress("02:11:22:33:44:55"))
        #expect(mac.linkLocal.description == "fe80::11:22ff:fe33:4455")
        #expect(mac.linkLocal.isLinkLocal)
    }

    @Test("a VNI is 24 bits and not zero")
    func vni() {
        #expect(VNI(0) == nil && VNI(1 << 24) == nil && VNI(0xff_ffff) != nil)
    }
}
