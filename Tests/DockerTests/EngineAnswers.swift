/// Answers of real engines, shortened: Docker 20.10 (API 1.41) and 28 (API 1.51).
enum EngineAnswers {
    static let network = "7d2f3c1b8a9e4f5061728394a5b6c7d8e9f0a1b2c3d4e5f60718293a4b5c6d7e"
    static let container = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00"
    static let endpoint = "e0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"

    static let version20 = #"""
        {"Platform":{"Name":""},"Components":[{"Name":"Engine","Version":"20.10.24+dfsg1","Details":{"ApiVersion":"1.41"}}],
        "Version":"20.10.24+dfsg1","ApiVersion":"1.41","MinAPIVersion":"1.12","GitCommit":"5d6db84","GoVersion":"go1.19.8","Os":"linux",
        "Arch":"amd64","KernelVersion":"6.1.0","BuildTime":"2023-05-18T08:38:34.000000000+00:00"}
        """#
    static let version28 = #"""
        {"Platform":{"Name":"Docker Engine - Community"},"Version":"28.5.2","ApiVersion":"1.51","MinAPIVersion":"1.24","Os":"linux",
        "Arch":"amd64","KernelVersion":"6.12.0","Experimental":true}
        """#

    static let networks20 = #"""
        [{"Name":"shop","Id":"\#(network)","Created":"2026-01-05T10:11:12.123456789Z","Scope":"local","Driver":"tulle","EnableIPv6":true,
        "IPAM":{"Driver":"tulle","Options":{"tulle.network":"k1"},"Config":[{"Subnet":"10.32.0.0/16","IPRange":"10.32.8.0/24","Gateway":"10.32.0.1",
        "AuxiliaryAddresses":{"router":"10.32.0.9"}},{"Subnet":"fd32::/64"}]},"Internal":false,"Attachable":true,"Ingress":false,
        "ConfigFrom":{"Network":""},"ConfigOnly":false,"Containers":{},"Options":{"tulle.mtu":"1400"},"Labels":{"team":"el"}},
        {"Name":"none","Id":"none0","Created":"","Scope":"local","Driver":"null","EnableIPv6":false,"IPAM":{"Driver":"default","Options":null,"Config":[]},
        "Internal":false,"Attachable":false,"Containers":{},"Options":{},"Labels":{}}]
        """#
    static let networks28 = #"""
        [{"Name":"shop","Id":"\#(network)","Created":"2026-01-05T10:11:12.123456789Z","Scope":"local","Driver":"tulle","EnableIPv4":true,"EnableIPv6":true,
        "IPAM":{"Driver":"tulle","Options":{"tulle.network":"k1"},"Config":[{"Subnet":"10.32.0.0/16","IPRange":"10.32.8.0/24","Gateway":"10.32.0.1",
        "AuxiliaryAddresses":{"router":"10.32.0.9"}},{"Subnet":"fd32::/64","IPRange":"","Gateway":""}]},"Internal":false,"Attachable":true,
        "Ingress":false,"ConfigFrom":{"Network":""},"ConfigOnly":false,"Containers":{},"Options":{"tulle.mtu":"1400"},"Labels":{"team":"el"}},
        {"Name":"none","Id":"none0","Created":"","Scope":"local","Driver":"null","EnableIPv4":true,"EnableIPv6":false,
        "IPAM":{"Driver":"default","Options":null,"Config":null},"Internal":false,"Attachable":false,"Containers":null,"Options":null,"Labels":null}]
        """#

    static let inspectedNetwork = #"""
        {"Name":"shop","Id":"\#(network)","Scope":"local","Driver":"tulle","EnableIPv6":false,"IPAM":{"Driver":"tulle","Options":{},
        "Config":[{"Subnet":"10.32.0.0/16"}]},"Internal":true,"Containers":{"\#(container)":{"Name":"web","EndpointID":"\#(endpoint)",
        "MacAddress":"02:00:0a:20:00:02","IPv4Address":"10.32.0.2/32","IPv6Address":""}},"Options":{},"Labels":{}}
        """#

    /// Docker 20.10; from 25 on there is "DNSNames" too.
    static let inspectedContainer = #"""
        {"Id":"\#(container)","Name":"/web","State":{"Running":true},"HostConfig":{"PortBindings":{"80/tcp":[{"HostIp":"","HostPort":"8080"}]}},
        "Config":{"Hostname":"front","Labels":{}},"NetworkSettings":{"Ports":{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"}],"53/udp":[],"9999/tcp":null},
        "Networks":{"shop":{"IPAMConfig":null,"Links":null,"Aliases":["www","*.cdn","c0ffee00c0ff"],"DNSNames":["web","www"],"NetworkID":"\#(network)",
        "EndpointID":"\#(endpoint)","IPAddress":"10.32.179.0"},"bridge":{"Aliases":null,"EndpointID":""}}}}
        """#

    static let events = #"""
        {"Type":"network","Action":"create","Actor":{"ID":"\#(network)","Attributes":{"name":"shop","type":"tulle"}},"scope":"local","time":1767607872,"timeNano":1767607872123456789}

        {"status":"start","id":"\#(container)","from":"busybox","Type":"container","Action":"start","Actor":{"ID":"\#(container)","Attributes":{"app":"web","image":"busybox","name":"web"}},"scope":"local","time":1767607873,"timeNano":1767607873000000001}

        """#
}
