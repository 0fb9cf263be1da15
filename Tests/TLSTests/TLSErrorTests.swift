import NIOCore
import NIOEmbedded
import TLS
import TestKit
import Testing

/// Each way to be refused has its own code, on the side that refuses and on the other.
struct TLSErrorTests {
    /// The errors of both ends after all was said.
    private func outcome(
        client: TLSContext, server: TLSContext, name: String = "127.0.0.1"
    ) throws -> (client: TLSError?, server: TLSError?, pair: Pair) {
        let pair = try Pair(client: client, server: server, name: name)
        pair.run()
        #expect(pair.client.recorder.errors.count <= 1 && pair.server.recorder.errors.count <= 1)
        for error in [pair.client.error, pair.server.error].compactMap({ $0 }) {
            #expect(!error.operation.isEmpty && !error.cause.isEmpty && !error.remedy.isEmpty)
        }
        return (pair.client.error, pair.server.error, pair)
    }

    @Test("a peer of another authority is refused, with the names of both, and told so")
    func unknownAuthority() throws {
        let (ours, theirs) = (try Cluster("alpha"), try Cluster("beta"))
        var result = try outcome(client: ours.context(Cluster.two), server: theirs.context(Cluster.one))
        #expect(result.client?.code == .unknownAuthority)
        #expect(result.client?.cause.contains("claims to be node \(Cluster.one) of beta") == true)
        #expect(result.client?.cause.contains("\"tulle beta\"") == true)
        #expect(result.server?.code == .refusedByPeer && result.server?.cause.contains("authority") == true)
        #expect(!result.pair.server.recorder.isSecured)

        // The same name does not make it the same authority.
        let client = try Cluster("alpha").context(Cluster.two, trust: ours.trust)
        result = try outcome(client: client, server: ours.context(Cluster.one))
        #expect(result.server?.code == .unknownAuthority && result.client?.code == .refusedByPeer)
    }

    @Test("a joiner trusts the authority that its fingerprint names, and no other")
    func pinned() throws {
        let (cluster, other) = (try Cluster(), try Cluster())
        let joiner = try TLSContext(
            own: nil, trust: .pinned(fingerprint: cluster.authority.certificate.fingerprint), now: { Cluster.now })
        let good = try outcome(client: joiner, server: cluster.context(Cluster.one, clients: .optional))
        #expect(good.client == nil && good.server == nil)
        #expect(good.pair.client.recorder.peer?.node == Cluster.one && good.pair.server.recorder.isSecured)
        #expect(good.pair.server.recorder.peer == nil)

        let bad = try outcome(client: joiner, server: other.context(Cluster.one, clients: .optional))
        #expect(bad.client?.code == .fingerprintMismatch)
        #expect(bad.client?.cause.contains(cluster.authority.certificate.fingerprintText) == true)

        // The right authority beside a certificate that is not of it.
        let own = try other.own(Cluster.one)
        let liar = TLSContext.Own(certificate: own.certificate, key: own.key, chain: [cluster.authority.certificate])
        let forged = try outcome(
            client: joiner, server: try TLSContext(own: liar, trust: other.trust, clientCertificate: .none, now: { Cluster.now }))
        #expect(forged.client?.code == .unknownAuthority)

        // A server that does not show its authority.
        let silent = try TLSContext(own: try cluster.own(Cluster.one), trust: cluster.trust, clientCertificate: .none, now: { Cluster.now })
        #expect(try outcome(client: joiner, server: silent).client?.code == .fingerprintMismatch)

        // The right key in a certificate that somebody else made up, with another lifetime.
        let empty = try TLSContext(own: nil, trust: .pinned(fingerprint: []), now: { Cluster.now })
        #expect(try outcome(client: empty, server: cluster.context(Cluster.one)).client?.code == .fingerprintMismatch)
    }

    @Test("a certificate that has ended is refused, with the dates")
    func expired() throws {
        let cluster = try Cluster()
        let late = Cluster.now + 93 * Cluster.day
        var result = try outcome(client: cluster.context(Cluster.two, now: late), server: cluster.context(Cluster.one))
        #expect(result.client?.code == .expired)
        #expect(result.client?.cause.contains("2027-04-15T08:00:00Z") == true, "\(result.client as Any)")
        #expect(result.client?.cause.contains("3 days later") == true, "\(result.client as Any)")
        result = try outcome(client: cluster.context(Cluster.two), server: cluster.context(Cluster.one, now: late))
        #expect(result.server?.code == .expired)
        #expect(result.client?.code == .refusedByPeer && result.client?.cause.contains("ended") == true)
    }

    @Test("a certificate of the future names the difference of the clocks; one hour is forgiven")
    func notYetValid() throws {
        let cluster = try Cluster()
        let server = try cluster.context(Cluster.one)
        #expect(try outcome(client: cluster.context(Cluster.two, now: Cluster.now - 3599), server: server).client == nil)
        let result = try outcome(client: cluster.context(Cluster.two, now: Cluster.now - 3 * 3600), server: server)
        #expect(result.client?.code == .notYetValid)
        #expect(result.client?.cause.contains("2 hours earlier") == true, "\(result.client as Any)")
        #expect(result.client?.remedy.contains("clocks") == true)
        #expect(result.server?.code == .refusedByPeer)
    }

    @Test("a node of another cluster with a trusted authority is refused")
    func wrongCluster() throws {
        let (ours, theirs) = (try Cluster("alpha"), try Cluster("beta"))
        let trust = TLSContext.Trust.cluster("alpha", authorities: [ours.authority.certificate, theirs.authority.certificate])
        let result = try outcome(client: ours.context(Cluster.two, trust: trust), server: theirs.context(Cluster.one, clients: .none))
        #expect(result.client?.code == .wrongCluster)
        #expect(result.client?.cause.contains("beta") == true && result.client?.cause.contains("alpha") == true)
    }

    @Test("a removed node is refused by name, and hears why")
    func removed() throws {
        let cluster = try Cluster()
        let server = try cluster.context(
            Cluster.one, refusal: { $0?.node == Cluster.two ? "it was removed on Monday" : nil })
        let result = try outcome(client: cluster.context(Cluster.two), server: server)
        #expect(result.server?.code == .removed && result.server?.cause.contains("removed on Monday") == true)
        #expect(result.server?.cause.contains(Cluster.two) == true)
        #expect(result.client?.code == .refusedByPeer && result.client?.cause.contains("removed from the cluster") == true)
        #expect(!result.pair.server.recorder.isSecured)
        #expect(try outcome(client: cluster.context(Cluster.one), server: server).server == nil)
        // And a client does not talk to a removed server.
        let client = try cluster.context(Cluster.two, refusal: { _ in "removed" })
        #expect(try outcome(client: client, server: cluster.context(Cluster.one)).client?.code == .removed)
    }

    @Test("a client without a certificate is refused where one is required, and where the owner says so")
    func noCertificate() throws {
        let cluster = try Cluster()
        let nobody = try TLSContext(own: nil, trust: cluster.trust, now: { Cluster.now })
        var result = try outcome(client: nobody, server: cluster.context(Cluster.one))
        #expect(result.server?.code == .noCertificate)
        #expect(result.client?.code == .refusedByPeer && result.client?.cause.contains("none to show") == true)
        result = try outcome(
            client: nobody, server: cluster.context(Cluster.one, clients: .optional, refusal: { $0 == nil ? "not today" : nil }))
        #expect(result.server?.code == .removed && result.server?.cause.contains("not today") == true)
    }

    @Test("a certificate of the right authority that names no node is refused")
    func noNode() throws {
        let cluster = try Cluster()
        let own = TLSContext.Own(certificate: cluster.authority.certificate, key: cluster.authority.key)
        let server = try TLSContext(own: own, trust: cluster.trust, clientCertificate: .none, now: { Cluster.now })
        let error = try outcome(client: cluster.context(Cluster.two), server: server).client
        #expect(error?.code == .badCertificate)
    }

    @Test("a key that is not the certificate's is refused before any connection")
    func keyMismatch() throws {
        let cluster = try Cluster()
        let own = TLSContext.Own(certificate: try cluster.own(Cluster.one).certificate, key: try PrivateKey.generate())
        let error = #expect(throws: TLSError.self) { _ = try TLSContext(own: own, trust: cluster.trust, now: { 0 }) }
        #expect(error?.code == .keyMismatch)
    }

    @Test("an answer in plain HTTP is recognised, and quoted; any other that is no TLS too")
    func noTLS() throws {
        let cluster = try Cluster()
        for (answer, part) in [("HTTP/1.1 400 Bad Request\r\n\r\n", "plain HTTP (it said \"HTTP/1.1 400 Bad Request\")"), ("SSH-2.0-x\r\n", "no TLS")] {
            let client = try End(cluster.context(Cluster.two), .client(server: "h"))
            client.receive(Array(answer.utf8))
            #expect(client.error?.code == .noTLS && client.error?.cause.contains(part) == true, "\(client.error as Any)")
            #expect(client.recorder.isInactive)
        }
        let server = try End(cluster.context(Cluster.one), .server)
        server.receive(Array("GET / HTTP/1.1\r\n\r\n".utf8))
        #expect(server.error?.code == .noTLS)
    }

    @Test("a handshake that takes too long is ended, on both sides, also after the first bytes")
    func timedOut() throws {
        let cluster = try Cluster()
        let ends = [
            try End(cluster.context(Cluster.one), .server), try End(cluster.context(Cluster.one), .server),
            try End(cluster.context(Cluster.two), .client(server: "h")),
        ]
        ends[1].receive([22, 3, 1])
        for end in ends {
            end.channel.embeddedEventLoop.advanceTime(by: .milliseconds(4999))
            #expect(end.error == nil && end.channel.isActive)
            end.channel.embeddedEventLoop.advanceTime(by: .milliseconds(1))
            #expect(end.error?.code == .timedOut && end.recorder.isInactive)
        }
        let pair = try Pair(client: cluster.context(Cluster.two), server: cluster.context(Cluster.one))
        pair.run()
        pair.server.channel.embeddedEventLoop.advanceTime(by: .seconds(3600))
        #expect(pair.server.recorder.errors.isEmpty && pair.server.channel.isActive)
    }

    @Test("a connection that ends within the handshake says so")
    func closed() throws {
        let cluster = try Cluster()
        let client = try End(cluster.context(Cluster.two), .client(server: "h"))
        client.transportEnds()
        #expect(client.error?.code == .closed)
        // Who connects and goes, as a port scan does, is nobody's error.
        let server = try End(cluster.context(Cluster.one), .server)
        server.transportEnds()
        #expect(server.error == nil && server.recorder.isInactive)
    }

    @Test("a service of somebody else's is known by its name or address")
    func serverName() throws {
        let files = ScratchFiles()
        let made = try Judge.run(
            ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", files.write("key", ""), "-days", "30",
             "-subj", "/CN=etcd", "-addext", "subjectAltName=DNS:etcd.example.com,DNS:*.wild.example,IP:127.0.0.1,IP:fd00::1", "-out", files.write("crt", "")])
        #expect(made.status == 0, "\(made.output)")
        let certificate = try Certificate(pem: try Judge.run(["x509", "-in", files.path + "/crt"]).output)
        let key = try PrivateKey(pem: try Judge.run(["pkey", "-in", files.path + "/key"]).output)
        let now = certificate.notBefore + 1
        let server = try TLSContext(
            own: TLSContext.Own(certificate: certificate, key: key), trust: .serverName(authorities: []), clientCertificate: .none, now: { now })
        let client = try TLSContext(own: nil, trust: .serverName(authorities: [certificate]), now: { now })
        for name in ["etcd.example.com", "ETCD.example.com", "a.wild.example", "127.0.0.1", "fd00::1"] {
            let result = try outcome(client: client, server: server, name: name)
            #expect(result.client == nil && result.pair.client.recorder.isSecured, "\(name): \(result.client as Any)")
        }
        for name in ["other.example.com", "example.com", "b.a.wild.example", "127.0.0.2", "fd00::2", "etcd"] {
            #expect(try outcome(client: client, server: server, name: name).client?.code == .wrongName, "\(name)")
        }
        let system = try TLSContext(own: nil, trust: .serverName(authorities: nil), now: { now })
        #expect(try outcome(client: system, server: server, name: "127.0.0.1").client?.code == .unknownAuthority)

        // A file of authorities with an intermediate one only.
        for (name, issuer, extra) in [
            ("root", [], "basicConstraints=critical,CA:TRUE"), ("middle", ["-CA", "root", "-CAkey", "rootkey"], "basicConstraints=critical,CA:TRUE"),
            ("leaf", ["-CA", "middle", "-CAkey", "middlekey"], "subjectAltName=DNS:leaf"),
        ] {
            let made = try Judge.run(
                ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=\(name)", "-addext", extra,
                 "-keyout", files.write(name + "key", ""), "-out", files.write(name, "")] + issuer.map { $0.hasPrefix("-") ? $0 : files.path + "/" + $0 })
            #expect(made.status == 0, "\(made.output)")
        }
        func read(_ name: String) throws -> Certificate { try Certificate(pem: try Judge.run(["x509", "-in", files.path + "/" + name]).output) }
        let leafKey = try PrivateKey(pem: try Judge.run(["pkey", "-in", files.path + "/leafkey"]).output)
        let middle = try read("middle")
        let leaf = try TLSContext(
            own: TLSContext.Own(certificate: try read("leaf"), key: leafKey, chain: [middle]), trust: .serverName(authorities: []),
            clientCertificate: .none, now: { middle.notBefore + 10 })
        for (name, isGood) in [("root", true), ("middle", true), ("leafonly", false)] {
            let trusted = name == "leafonly" ? certificate : try read(name)
            let client = try TLSContext(own: nil, trust: .serverName(authorities: [trusted]), now: { middle.notBefore + 10 })
            #expect(try outcome(client: client, server: leaf, name: "leaf").client?.code == (isGood ? nil : .unknownAuthority), "\(name)")
        }
        let nameless = try End(client, .client(server: ""))
        #expect(nameless.error?.code == .badName)
    }
}
