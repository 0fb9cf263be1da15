import Docker
import HTTP
import Testing

/// The engine's recorded requests become the values that the drivers are asked with.
struct PluginRequestTests {
    private let key = EndpointKey(networkID: Recorded.network, endpointID: Recorded.endpoint)
    private var ports: EndpointOptions {
        var options = EndpointOptions()
        options.exposedPorts = [ExposedPort(proto: 6, port: 9999), ExposedPort(proto: 6, port: 80), ExposedPort(proto: 17, port: 53)]
        options.portMappings = [
            PortMapping(proto: 6, port: 80, hostPort: 8080, hostPortEnd: 8080),
            PortMapping(proto: 17, port: 53, hostAddress: "127.0.0.1", hostPort: 5353, hostPortEnd: 5353),
        ]
        return options
    }

    private func asked(_ call: String, _ body: String? = nil) async -> Asked? {
        let driver = RecordingDriver()
        let answer = await PluginService(driver).answer(call, body ?? Recorded.body(call))
        #expect(answer.status == 200)
        #expect(!answer.text.contains("Err"), "\(answer.text)")
        return driver.calls.first
    }

    @Test("network create")
    func createNetwork() async throws {
        guard case .createNetwork(let request)? = await asked("NetworkDriver.CreateNetwork") else {
            Issue.record("not asked")
            return
        }
        #expect(request.networkID == Recorded.network)
        #expect(request.options.driver == ["com.example.mtu": "1400", "k": "v"])
        #expect(request.options.enablesIPv6 && request.options.enablesIPv4 && !request.options.isInternal)
        #expect(request.ipv4.count == 1 && request.ipv6.count == 1)
        #expect(request.ipv4.first?.addressSpace == "LocalDefault")
        #expect(request.ipv4.first?.pool == "10.50.0.0/24")
        #expect(request.ipv4.first?.gateway == "10.50.0.1/24")
        #expect(request.ipv4.first?.auxiliaryAddresses == ["router": "10.50.0.9/24"])
        #expect(request.ipv6.first?.gateway == "fd50::1/64")
    }

    @Test("a network's options may be null, and values that are no texts become their JSON")
    func looseOptions() async throws {
        let bare = #"{"NetworkID":"n","Options":null,"IPv4Data":null,"IPv6Data":[]}"#
        guard case .createNetwork(let request)? = await asked("NetworkDriver.CreateNetwork", bare) else {
            Issue.record("not asked")
            return
        }
        #expect(request.options.driver.isEmpty && request.ipv4.isEmpty && request.ipv6.isEmpty)

        let loose = #"""
            {"NetworkID":"n","Unknown":[1],"Options":{"com.docker.network.internal":true,"com.docker.network.enable_ipv4":false,
            "com.docker.network.generic":{"a":1,"b":true,"c":null,"d":{"y":[1.5,"z"],"x":null}}}}
            """#
        guard case .createNetwork(let request)? = await asked("NetworkDriver.CreateNetwork", loose) else {
            Issue.record("not asked")
            return
        }
        #expect(request.options.driver == ["a": "1", "b": "true", "c": "", "d": #"{"x":null,"y":[1.5,"z"]}"#])
        #expect(request.options.isInternal && !request.options.enablesIPv4)
    }

    @Test("an endpoint with addresses, ports and a MAC in base64")
    func createEndpoint() async throws {
        guard case .createEndpoint(let request)? = await asked("NetworkDriver.CreateEndpoint") else {
            Issue.record("not asked")
            return
        }
        var options = ports
        options.macAddress = "02:11:22:33:44:55"
        options.dnsServers = ["10.50.0.53"]
        options.driver = ["a": "b"]
        #expect(request.endpoint == key)
        #expect(request.address == "10.50.0.200/24")
        #expect(request.addressIPv6 == "fd50::2/64")
        #expect(request.macAddress == "02:11:22:33:44:55")
        #expect(request.options == options)
    }

    @Test("an endpoint for which the driver may choose the MAC, on an internal network")
    func freeEndpoint() async throws {
        let body = #"{\#(Recorded.key),"Interface":{"Address":"10.50.0.2/24","AddressIPv6":"","MacAddress":""},"Options":{}}"#
        guard case .createEndpoint(let request)? = await asked("NetworkDriver.CreateEndpoint", body) else {
            Issue.record("not asked")
            return
        }
        #expect(request.address == "10.50.0.2/24")
        #expect(request.addressIPv6 == nil && request.macAddress == nil)
        #expect(request.options == EndpointOptions())
    }

    @Test("join, and the calls around it")
    func join() async throws {
        guard case .join(let request)? = await asked("NetworkDriver.Join") else {
            Issue.record("not asked")
            return
        }
        #expect(request.endpoint == key)
        #expect(request.sandboxKey == "/var/run/docker/netns/e209e62e404a")
        #expect(request.options == ports)
        guard case .program(let program)? = await asked("NetworkDriver.ProgramExternalConnectivity") else {
            Issue.record("not asked")
            return
        }
        #expect(program.endpoint == key && program.options == ports)
        // At `network connect` the generic options are there and hold nothing.
        let connect = #"{\#(Recorded.key),"SandboxKey":"/k","Options":{"com.docker.network.generic":{"ChildEndpoints":null,"ParentEndpoints":null}}}"#
        guard case .join(let request)? = await asked("NetworkDriver.Join", connect) else {
            Issue.record("not asked")
            return
        }
        #expect(request.options == EndpointOptions())
    }

    @Test("calls that name an endpoint or a network only")
    func keys() async throws {
        #expect(await asked("NetworkDriver.DeleteEndpoint") == .deleteEndpoint(key))
        #expect(await asked("NetworkDriver.EndpointOperInfo") == .endpointInfo(key))
        #expect(await asked("NetworkDriver.Leave") == .leave(key))
        #expect(await asked("NetworkDriver.RevokeExternalConnectivity") == .revoke(key))
        #expect(await asked("NetworkDriver.DeleteNetwork") == .deleteNetwork(Recorded.network))
        #expect(await asked("NetworkDriver.FreeNetwork") == .free("imy8s80u2noud1tx1oillysrh"))
    }

    @Test("swarm's allocation and discovery")
    func swarm() async throws {
        guard case .allocate(let request)? = await asked("NetworkDriver.AllocateNetwork") else {
            Issue.record("not asked")
            return
        }
        #expect(request.networkID == "imy8s80u2noud1tx1oillysrh" && request.options == ["k": "v"])
        #expect(request.ipv4.map(\.pool) == ["10.60.0.0/24"] && request.ipv6.isEmpty)
        let node = Discovery(type: 1, data: ["Address": "192.168.99.2", "BindAddress": "", "Self": false])
        #expect(await asked("NetworkDriver.DiscoverNew") == .discoverNew(node))
        #expect(await asked("NetworkDriver.DiscoverDelete") == .discoverDelete(node))
    }

    @Test("pools and addresses")
    func addresses() async throws {
        guard case .requestPool(let pool)? = await asked("IpamDriver.RequestPool") else {
            Issue.record("not asked")
            return
        }
        #expect(pool.addressSpace == "tulle" && pool.pool == "10.54.0.0/24" && pool.subPool == "10.54.0.64/26")
        #expect(pool.options == ["tulle.network": "x"] && !pool.isIPv6)
        let free = #"{"AddressSpace":"tulle","Pool":"","SubPool":"","Options":null,"V6":true}"#
        guard case .requestPool(let pool)? = await asked("IpamDriver.RequestPool", free) else {
            Issue.record("not asked")
            return
        }
        #expect(pool.pool == nil && pool.subPool == nil && pool.options.isEmpty && pool.isIPv6)

        guard case .requestAddress(let gateway)? = await asked("IpamDriver.RequestAddress") else {
            Issue.record("not asked")
            return
        }
        #expect(gateway.poolID == "p1" && gateway.address == "10.54.0.254" && gateway.isGateway && gateway.macAddress == nil)
        let any = #"{"PoolID":"p1","Address":"","Options":{"com.docker.network.endpoint.macaddress":"02:42:00:00:00:01"}}"#
        guard case .requestAddress(let address)? = await asked("IpamDriver.RequestAddress", any) else {
            Issue.record("not asked")
            return
        }
        #expect(address.address == nil && !address.isGateway && address.macAddress == "02:42:00:00:00:01")
        #expect(await asked("IpamDriver.ReleasePool") == .releasePool("tulle/10.54.0.0/24"))
        #expect(await asked("IpamDriver.ReleaseAddress") == .releaseAddress("p1", "10.54.0.1"))
    }

    @Test("calls without a body are answered, with an empty or null one too", arguments: ["", "null", "{}", " \n"])
    func emptyBodies(body: String) async throws {
        let service = PluginService(RecordingDriver())
        for call in ["Plugin.Activate", "NetworkDriver.GetCapabilities", "IpamDriver.GetCapabilities", "IpamDriver.GetDefaultAddressSpaces"] {
            let answer = await service.answer(call, body)
            #expect(answer.status == 200 && !answer.text.contains("Err"))
        }
    }
}
