import Docker
import HTTP
import Synchronization
import Testing

/// The exact bytes of our answers.
struct PluginAnswerTests {
    private func answer(_ call: String, _ driver: RecordingDriver = RecordingDriver()) async -> String {
        await PluginService(driver).answer(call, Recorded.body(call)).text
    }

    @Test("activation and capabilities")
    func activation() async {
        #expect(await answer("Plugin.Activate") == #"{"Implements":["NetworkDriver","IpamDriver"]}"#)
        #expect(await answer("NetworkDriver.GetCapabilities") == #"{"Scope":"local"}"#)
        let global = RecordingDriver(
            network: NetworkCapabilities(scope: .local, connectivityScope: .global),
            addresses: AddressCapabilities(requiresMACAddress: true, requiresRequestReplay: true))
        #expect(await answer("NetworkDriver.GetCapabilities", global) == #"{"ConnectivityScope":"global","Scope":"local"}"#)
        #expect(await answer("IpamDriver.GetCapabilities", global) == #"{"RequiresMACAddress":true,"RequiresRequestReplay":true}"#)
        #expect(
            await answer("IpamDriver.GetDefaultAddressSpaces")
                == #"{"GlobalDefaultAddressSpace":"tulle-global","LocalDefaultAddressSpace":"tulle"}"#)
    }

    @Test(
        "calls without a result answer an empty object",
        arguments: [
            "CreateNetwork", "DeleteNetwork", "DeleteEndpoint", "Leave", "ProgramExternalConnectivity", "RevokeExternalConnectivity",
            "FreeNetwork", "DiscoverNew", "DiscoverDelete",
        ])
    func empty(call: String) async {
        #expect(await answer("NetworkDriver." + call) == "{}")
    }

    @Test("endpoints")
    func endpoints() async {
        #expect(await answer("NetworkDriver.CreateEndpoint") == "{}")
        let mac = RecordingDriver(endpoint: CreateEndpointResponse(macAddress: "02:00:0a:20:00:02"))
        #expect(await answer("NetworkDriver.CreateEndpoint", mac) == #"{"Interface":{"MacAddress":"02:00:0a:20:00:02"}}"#)
        let all = RecordingDriver(endpoint: CreateEndpointResponse(address: "10.0.0.2/8", addressIPv6: "fd::2/64", macAddress: "02:00:00:00:00:01"))
        #expect(
            await answer("NetworkDriver.CreateEndpoint", all)
                == #"{"Interface":{"Address":"10.0.0.2/8","AddressIPv6":"fd::2/64","MacAddress":"02:00:00:00:00:01"}}"#)
        #expect(await answer("NetworkDriver.EndpointOperInfo") == #"{"Value":{"a":"1","b":"2"}}"#)
    }

    @Test("join with gateway and routes, without a gateway, and without anything")
    func join() async {
        let routed = RecordingDriver(
            join: JoinResponse(
                interface: .init(source: "tulcf440c543", prefix: "eth"), gateway: "10.34.0.1", gatewayIPv6: "fd00:34::1",
                routes: [.init(destination: "10.34.0.1/32"), .init(destination: "10.34.0.0/16", nextHop: "10.34.0.1")]))
        #expect(
            await answer("NetworkDriver.Join", routed)
                == #"{"Gateway":"10.34.0.1","GatewayIPv6":"fd00:34::1","InterfaceName":{"DstPrefix":"eth","SrcName":"tulcf440c543"},"#
                + #""StaticRoutes":[{"Destination":"10.34.0.1/32","RouteType":1},{"Destination":"10.34.0.0/16","NextHop":"10.34.0.1","RouteType":0}]}"#)
        let isolated = RecordingDriver(join: JoinResponse(interface: .init(source: "v", prefix: "eth"), disablesGatewayService: true))
        #expect(
            await answer("NetworkDriver.Join", isolated)
                == #"{"DisableGatewayService":true,"InterfaceName":{"DstPrefix":"eth","SrcName":"v"}}"#)
        #expect(await answer("NetworkDriver.Join") == "{}")
    }

    @Test("allocation, pools and addresses")
    func addresses() async {
        #expect(await answer("NetworkDriver.AllocateNetwork") == #"{"Options":{"k":"v"}}"#)
        #expect(await answer("IpamDriver.RequestPool") == #"{"Data":{},"Pool":"10.54.0.0/24","PoolID":"p1"}"#)
        #expect(await answer("IpamDriver.RequestAddress") == #"{"Address":"10.32.0.2/32","Data":{"k":"v"}}"#)
        #expect(await answer("IpamDriver.ReleasePool") == "{}")
        #expect(await answer("IpamDriver.ReleaseAddress") == "{}")
    }

    @Test("a driver's error is its text, under Err or Error, with status 200", arguments: Recorded.bodies.map(\.call))
    func errors(call: String) async {
        let driver = RecordingDriver(refusal: Refusal(description: "no \"room\"\nleft"))
        let answer = await PluginService(driver).answer(call, Recorded.body(call))
        #expect(answer.status == 200)
        #expect(answer.text == #"{"\#(call.hasPrefix("Ipam") ? "Error" : "Err")":"no \"room\"\nleft"}"#)
    }

    @Test("an unknown call is 404, another method 405, and the type is the protocol's")
    func unknown() async {
        let service = PluginService(RecordingDriver())
        for call in ["NetworkDriver.Fly", "IpamDriver.Fly", "Plugin.Deactivate", "VolumeDriver.Create", "", "NetworkDriver", "NetworkDriver.Join/x"] {
            let answer = await service.answer(call, "{}")
            #expect(answer.status == 404)
            #expect(answer.text.hasPrefix(#"{"Err":"#))
        }
        let response = await service.answer(HTTPRequest("GET", "/Plugin.Activate"))
        #expect(response.status == 405)
        #expect(response.fields["content-type"] == "application/vnd.docker.plugins.v1.2+json")
    }

    @Test("each call is observed with its error")
    func observer() async {
        let seen = Mutex<[String]>([])
        let driver = RecordingDriver(refusal: Refusal(description: "no"))
        let service = PluginService(network: driver, addresses: driver, log: quiet) { call, duration, error in
            #expect(duration >= .zero)
            seen.withLock { $0.append("\(call) \(error ?? "-")") }
        }
        _ = await service.answer("Plugin.Activate", "")
        _ = await service.answer("NetworkDriver.Leave", Recorded.body("NetworkDriver.Leave"))
        #expect(seen.withLock { $0 } == ["Plugin.Activate -", "NetworkDriver.Leave no"])
    }

    @Test("a call is finished though the engine goes away meanwhile")
    func engineGone() async {
        let wasCancelled = Mutex<Bool?>(nil)
        let (started, start) = AsyncStream.makeStream(of: Void.self)
        let (gone, go) = AsyncStream.makeStream(of: Void.self)
        let driver = RecordingDriver(leaving: {
            start.finish()
            await Task { for await _ in gone {} }.value
            wasCancelled.withLock { $0 = Task.isCancelled }
        })
        let call = Task { await PluginService(driver).answer("NetworkDriver.Leave", Recorded.body("NetworkDriver.Leave")).text }
        for await _ in started {}
        call.cancel()
        go.finish()
        #expect(await call.value == "{}")
        #expect(wasCancelled.withLock { $0 } == false)
    }
}
