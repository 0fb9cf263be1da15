import Docker
import HTTP
import Testing

/// What no engine should send is answered with an error that names the call and the field.
struct PluginBadInputTests {
    /// (call, body, what the error must contain)
    static let rows: [(String, String, String)] = [
        ("CreateNetwork", "{}", "NetworkID is missing"),
        ("CreateNetwork", "[]", "must be an object, not a list"),
        ("CreateNetwork", "{", "not JSON"),
        ("CreateNetwork", "{\"NetworkID\":\"a\u{0}\"}", "not JSON"),
        ("CreateNetwork", #"{"NetworkID":7}"#, "NetworkID must be a text, not 7"),
        ("CreateNetwork", #"{"NetworkID":"../../etc"}"#, "NetworkID is not an id"),
        ("CreateNetwork", #"{"NetworkID":".hidden"}"#, "NetworkID is not an id"),
        ("CreateNetwork", #"{"NetworkID":"\#(String(repeating: "a", count: 129))"}"#, "NetworkID is not an id"),
        ("CreateNetwork", #"{"NetworkID":"n","Options":[]}"#, "Options must be an object, not a list"),
        ("CreateNetwork", #"{"NetworkID":"n","Options":{"com.docker.network.internal":"true"}}"#, "Options.com.docker.network.internal must be true or false, not a text"),
        ("CreateNetwork", #"{"NetworkID":"n","Options":{"com.docker.network.generic":"x"}}"#, "Options.com.docker.network.generic must be an object"),
        ("CreateNetwork", #"{"NetworkID":"n","IPv4Data":{}}"#, "IPv4Data must be a list, not an object"),
        ("CreateNetwork", #"{"NetworkID":"n","IPv4Data":[7]}"#, "IPv4Data[0] must be an object, not 7"),
        ("CreateNetwork", #"{"NetworkID":"n","IPv4Data":[{"Pool":"10.0.0.0/8"},{}]}"#, "IPv4Data[1].Pool is missing"),
        ("CreateNetwork", #"{"NetworkID":"n","IPv6Data":[{"Pool":"x","Gateway":false}]}"#, "IPv6Data[0].Gateway must be a text, not a truth value"),
        ("CreateNetwork", #"{"NetworkID":"n","IPv4Data":[{"Pool":"\#(String(repeating: "1", count: 5000))"}]}"#, "IPv4Data[0].Pool is longer than 4096 bytes"),
        ("CreateNetwork", #"{"NetworkID":"n","Options":{"com.docker.network.generic":{"k":"\#(String(repeating: "1", count: 5000))"}}}"#, "is longer than 4096 bytes"),
        ("CreateNetwork", String(repeating: "[", count: 100_000), "deeper than 64"),
        ("DeleteNetwork", "", "run the command again"), ("DeleteNetwork", "{}", "NetworkID is missing"),
        ("CreateEndpoint", #"{"NetworkID":"n"}"#, "EndpointID is missing"),
        ("CreateEndpoint", #"{"NetworkID":"n","EndpointID":"e","Interface":"x"}"#, "Interface must be an object, not a text"),
        ("CreateEndpoint", #"{"NetworkID":"n","EndpointID":"e","Interface":{"Address":[]}}"#, "Interface.Address must be a text, not a list"),
        ("CreateEndpoint", #"{"NetworkID":"n","EndpointID":"e","Options":{"com.docker.network.endpoint.macaddress":"AhEi"}}"#, "macaddress is not a MAC address"),
        ("CreateEndpoint", #"{"NetworkID":"n","EndpointID":"e","Options":{"com.docker.network.endpoint.macaddress":"AhEiM0R!"}}"#, "macaddress is not a MAC address"),
        ("CreateEndpoint", #"{"NetworkID":"n","EndpointID":"e","Options":{"com.docker.network.endpoint.macaddress":"02:11:22:33:44:+5"}}"#, "macaddress is not a MAC address"),
        ("CreateEndpoint", #"{"NetworkID":"n","EndpointID":"e","Options":{"com.docker.network.endpoint.dnsservers":[1]}}"#, "dnsservers[0] must be a text, not 1"),
        ("CreateEndpoint", #"{"NetworkID":"n","EndpointID":"e","Options":{"com.docker.network.endpoint.exposedports":[{"Proto":6,"Port":65536}]}}"#, "exposedports[0].Port must be a whole number from 0 to 65535, not 65536"),
        ("Join", #"{"NetworkID":"n","EndpointID":"e"}"#, "SandboxKey is missing"),
        ("Join", #"{"NetworkID":"n","EndpointID":"e","SandboxKey":"k","Options":{"com.docker.network.portmap":[{"Proto":-1}]}}"#, "portmap[0].Proto must be a whole number from 0 to 255, not -1"),
        ("Join", #"{"NetworkID":"n","EndpointID":"e","SandboxKey":"k","Options":{"com.docker.network.portmap":[{"HostPort":1e99}]}}"#, "portmap[0].HostPort must be"),
        ("ProgramExternalConnectivity", #"{"NetworkID":"n","EndpointID":"e","Options":{"com.docker.network.portmap":[{"HostIP":{}}]}}"#, "portmap[0].HostIP must be a text, not an object"),
        ("Leave", #"{"NetworkID":null,"EndpointID":"e"}"#, "NetworkID is missing"),
        ("DiscoverNew", #"{"DiscoveryType":"1"}"#, "DiscoveryType must be a whole number"),
        ("AllocateNetwork", #"{"NetworkID":"n","Options":"x"}"#, "Options must be an object"),
        ("RequestPool", #"{"V6":"no"}"#, "V6 must be true or false, not a text"),
        ("RequestPool", #"{"Pool":12}"#, "Pool must be a text, not 12"),
        ("ReleasePool", "{}", "PoolID is missing"),
        ("RequestAddress", #"{"Address":"10.0.0.1"}"#, "PoolID is missing"),
        ("RequestAddress", #"{"PoolID":"p","Options":7}"#, "Options must be an object, not 7"),
        ("ReleaseAddress", #"{"PoolID":"p"}"#, "Address is missing"),
    ]

    @Test("a bad field is named", arguments: rows)
    func namedField(name: String, body: String, expected: String) async {
        let isAddress = name.hasSuffix("Pool") || name.hasSuffix("Address")
        let call = (isAddress ? "IpamDriver." : "NetworkDriver.") + name
        let driver = RecordingDriver()
        let answer = await PluginService(driver).answer(call, body)
        #expect(answer.status == 200)
        #expect(answer.text.hasPrefix(isAddress ? #"{"Error":""# : #"{"Err":""#))
        #expect(answer.text.contains(call + ": "))
        #expect(answer.text.contains(expected), "\(answer.text)")
        #expect(answer.text.utf8.count < 4000)
        #expect(driver.calls.isEmpty, "the driver must not hear of it")
    }

    @Test("each required field that is missing, null or of a wrong type is refused, whatever the call", arguments: Recorded.bodies.map(\.call))
    func requiredFields(call: String) async throws {
        guard case .object(let fields) = try JSONValue(parsing: Array(Recorded.body(call).utf8)) else {
            Issue.record("not an object")
            return
        }
        for name in fields.keys where name.hasSuffix("ID") {
            for bad in [nil, .null, 7, false, [], [:], ""] as [JSONValue?] {
                let driver = RecordingDriver()
                let body = JSONValue.object(fields.merging([name: bad ?? .null]) { $1 }.filter { bad != nil || $0.key != name })
                let answer = await PluginService(driver).answer(call, String(decoding: body.serialized(), as: UTF8.self))
                #expect(answer.text.contains(name), "\(call) \(answer.text)")
                #expect(driver.calls.isEmpty)
            }
        }
    }

    @Test("mutated requests never trap: each is answered, with an error or by the driver", arguments: [1, 2, 3, 4])
    func mutations(seed: UInt64) async throws {
        var random = SplitMix(state: seed)
        let driver = RecordingDriver()
        let service = PluginService(driver)
        var refused = 0
        for _ in 0..<1500 {
            let (call, body) = Recorded.bodies.randomElement(using: &random) ?? ("", "")
            var bytes = Array(body.utf8)
            if Bool.random(using: &random) {
                bytes = mutate(try JSONValue(parsing: bytes), &random).serialized()
            } else {
                for _ in 0..<Int.random(in: 1...6, using: &random) where !bytes.isEmpty {
                    let place = Int.random(in: 0..<bytes.count, using: &random)
                    switch Int.random(in: 0..<4, using: &random) {
                    case 0: bytes[place] = UInt8.random(in: 0...255, using: &random)
                    case 1: bytes.remove(at: place)
                    case 2: bytes.insert(UInt8.random(in: 0...255, using: &random), at: place)
                    default: bytes.removeSubrange(place...)
                    }
                }
            }
            let before = driver.calls.count
            let response = await service.answer(HTTPRequest("POST", "/" + call, body: bytes))
            guard case .object(let answer) = try JSONValue(parsing: response.body) else {
                Issue.record("\(call): the answer is no object")
                return
            }
            let isRefused = answer["Err"] != nil || answer["Error"] != nil
            if isRefused { refused += 1 }
            #expect(response.status == 200)
            #expect(driver.calls.count == before + (isRefused ? 0 : 1))
        }
        #expect(refused > 300 && refused < 1400, "the mutations hit both outcomes")
    }

    /// The value with one part replaced, removed or made huge.
    private func mutate(_ value: JSONValue, _ random: inout SplitMix) -> JSONValue {
        switch value {
        case .object(var fields) where !fields.isEmpty && Int.random(in: 0..<8, using: &random) > 0:
            guard let key = fields.keys.sorted().randomElement(using: &random) else { return value }
            if Int.random(in: 0..<8, using: &random) == 0 {
                fields[key] = nil
            } else {
                fields[key] = mutate(fields[key] ?? .null, &random)
            }
            return .object(fields)
        case .list(var values) where !values.isEmpty && Int.random(in: 0..<4, using: &random) > 0:
            let index = Int.random(in: 0..<values.count, using: &random)
            values[index] = mutate(values[index], &random)
            return .list(values)
        default:
            let replacements: [JSONValue] = [
                .null, true, -1, 65536, .integer(.max), .integer(.min), .number(1e300), "", "x", .text(String(repeating: "é", count: 3000)),
                .text("\u{0}\u{1f}\u{fffd}/../"), [], [.null], [[[[]]]], [:], ["x": .null],
            ]
            return replacements.randomElement(using: &random) ?? .null
        }
    }
}

/// A small seeded generator (Steele, Lea, Flood 2014), so that a failure can be run again.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}
