import TLS
import TestKit
import Testing

struct CertificateTests {
    @Test("a key survives its PEM form, and OpenSSL's program reads it as P-256")
    func keys() throws {
        let key = try PrivateKey.generate()
        let pem = try key.pem()
        #expect(pem.hasPrefix("-----BEGIN PRIVATE KEY-----"))
        #expect(try PrivateKey(pem: pem).publicKey() == key.publicKey())
        #expect(try PrivateKey.generate().publicKey() != key.publicKey())
        let judged = try Judge.run(["pkey", "-noout", "-text"], input: pem)
        #expect(judged.status == 0 && judged.output.contains("ASN1 OID: prime256v1"), "\(judged)")
    }

    @Test("what the authority issues is found good by OpenSSL's program, with all that a node needs in it")
    func issues() throws {
        let cluster = try Cluster()
        let own = try cluster.own(Cluster.one)
        let files = ScratchFiles()
        let authority = files.write("authority", try cluster.authority.certificate.pem())
        let node = files.write("node", try own.certificate.pem())
        let time = String(Cluster.now + Cluster.day)
        for purpose in ["sslserver", "sslclient"] {
            let judged = try Judge.run(
                ["verify", "-x509_strict", "-attime", time, "-purpose", purpose, "-CAfile", authority, node])
            #expect(judged.status == 0, "\(judged.output)")
        }
        let text = try Judge.run(["x509", "-noout", "-text", "-in", node]).output
        for part in [
            "URI:tulle://alpha/node/\(Cluster.one)", "CA:FALSE", "Digital Signature", "TLS Web Server Authentication, TLS Web Client Authentication",
            "CN = host", "Issuer: CN = tulle alpha", "X509v3 Authority Key Identifier",
        ] { #expect(text.contains(part), "\(part) is not in \(text)") }
        let authorityText = try Judge.run(["x509", "-noout", "-text", "-in", authority]).output
        for part in ["CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign", "X509v3 Basic Constraints: critical", "X509v3 Subject Key Identifier"] {
            #expect(authorityText.contains(part), "\(part) is not in \(authorityText)")
        }

        let certificate = own.certificate
        #expect(certificate.notBefore == Cluster.now - 3600)
        #expect(certificate.notAfter == Cluster.now + 90 * Cluster.day)
        #expect(certificate.commonName == "host" && certificate.issuerName == "tulle alpha")
        #expect(certificate.uris == ["tulle://alpha/node/\(Cluster.one)"])
        #expect(!certificate.isAuthority && cluster.authority.certificate.isAuthority)
        #expect(certificate.serial.count == 32)
        #expect(try Judge.run(["x509", "-noout", "-serial", "-in", node]).output.lowercased() == "serial=\(certificate.serial)\n")
        #expect(certificate.identity?.node == Cluster.one && certificate.identity?.cluster == "alpha")
        #expect(certificate.identity?.expires == certificate.notAfter)
        // The fingerprint as anybody can compute it.
        let publicKey = files.write("public", try Judge.run(["x509", "-noout", "-pubkey", "-in", node]).output)
        let der = files.write("der", "")
        _ = try Judge.run(["pkey", "-pubin", "-in", publicKey, "-outform", "DER", "-out", der])
        #expect(try Judge.run(["dgst", "-sha256", "-r", der]).output.hasPrefix(certificate.fingerprintText))
    }

    @Test("who issued a certificate is found by its signature, not by a name")
    func issuer() throws {
        let (cluster, other) = (try Cluster(), try Cluster())
        let certificate = try cluster.own(Cluster.one).certificate
        #expect(certificate.isIssued(by: cluster.authority.certificate))
        #expect(!certificate.isIssued(by: other.authority.certificate))
        #expect(!cluster.authority.certificate.isIssued(by: certificate))
        #expect(cluster.authority.certificate.isIssued(by: cluster.authority.certificate))
    }

    @Test("of a request only its key gets into the certificate")
    func requests() throws {
        let cluster = try Cluster()
        let key = try PrivateKey.generate()
        let request = try CertificateRequest(key: key, uri: "tulle://alpha/node/\(Cluster.two)")
        #expect(request.uris == ["tulle://alpha/node/\(Cluster.two)"])
        let files = ScratchFiles()
        let judged = try Judge.run(["req", "-noout", "-verify", "-text", "-in", files.write("request", try request.pem())])
        #expect(judged.status == 0 && judged.output.contains("URI:tulle://alpha/node/\(Cluster.two)"), "\(judged)")
        let again = try CertificateRequest(pem: try request.pem())
        #expect(try again == CertificateRequest(der: request.der) && again == request)
        let certificate = try cluster.authority.issue(
            for: again, node: Cluster.one, name: "one", lifetime: Cluster.day, now: Cluster.now)
        #expect(certificate.uris == ["tulle://alpha/node/\(Cluster.one)"])
        #expect(try certificate.publicKey == key.publicKey())

        // OpenSSL's own request for an authority's certificate, with a key that we do not take and one that we do.
        for (algorithm, isTaken) in [(["rsa:2048"], false), (["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], true)] {
            let made = try Judge.run(
                ["req", "-new", "-newkey"] + algorithm + ["-nodes", "-keyout", "/dev/null", "-subj", "/CN=evil", "-addext", "basicConstraints=CA:TRUE"])
            let request = try CertificateRequest(pem: made.output)
            do {
                let certificate = try cluster.authority.issue(for: request, node: Cluster.one, name: "x", lifetime: 60, now: Cluster.now)
                #expect(isTaken && !certificate.isAuthority && certificate.commonName == "x")
            } catch { #expect(!isTaken && error.code == .malformed) }
        }
    }

    @Test("a request that was changed, or signed by another key, is refused")
    func forgedRequests() throws {
        var der = try CertificateRequest(key: try PrivateKey.generate(), uri: "tulle://a/node/\(Cluster.one)").der
        let text = Array(Cluster.one.utf8)
        let place = try #require(der.indices.first { der[$0...].starts(with: text) })
        der[place] = UInt8(ascii: "2")
        let error = #expect(throws: TLSError.self) { _ = try CertificateRequest(der: der) }
        #expect(error?.code == .malformed && error?.cause.contains("not signed with its own key") == true)
    }

    @Test("names that could be read as more than a name are refused, host names of any kind are not")
    func names() throws {
        let cluster = try Cluster()
        let key = try PrivateKey.generate().publicKey()
        for node in ["", "x", "\(Cluster.one),URI:tulle://alpha/node/\(Cluster.two)", "\(Cluster.one)/", "1111111١-1111-4111-8111-111111111111"] {
            let error = #expect(throws: TLSError.self) {
                _ = try cluster.authority.issue(for: key, node: node, name: "x", lifetime: 60, now: Cluster.now)
            }
            #expect(error?.code == .badName)
        }
        for name in ["", "a/b", "a,b", "a\0b", String(repeating: "é", count: 300), "host,URI:tulle://alpha/node/\(Cluster.two)"] {
            let certificate = try cluster.authority.issue(for: key, node: Cluster.one, name: name, lifetime: 60, now: Cluster.now)
            #expect(certificate.uris.count == 1 && certificate.identity?.node == Cluster.one)
        }
        for name in ["", "a/b", "a b", "ä", String(repeating: "a", count: 51)] {
            let error = #expect(throws: TLSError.self) { _ = try CertificateAuthority.make(cluster: name, now: Cluster.now) }
            #expect(error?.code == .badName)
        }
        for (lifetime, now) in [(0, Cluster.now), (-5, Cluster.now), (60, Int64.min), (60, Int64.max), (60, Cluster.now * 9)] as [(Int64, Int64)] {
            #expect(throws: TLSError.self) { _ = try cluster.authority.issue(for: key, node: Cluster.one, name: "x", lifetime: lifetime, now: now) }
        }
    }

    @Test("no certificate outlives its authority")
    func clamps() throws {
        let cluster = try Cluster()
        for lifetime in [20 * 365 * Cluster.day, Int64.max - Cluster.now] {
            #expect(try cluster.own(Cluster.one, lifetime: lifetime).certificate.notAfter == cluster.authority.certificate.notAfter)
        }
    }

    @Test("an authority survives being saved; a key of another, or a node's certificate, is refused")
    func savedAuthority() throws {
        let (cluster, other) = (try Cluster("a.b-c_1"), try Cluster())
        let pem = try cluster.authority.certificate.pem()
        let loaded = try CertificateAuthority(certificate: pem, key: try cluster.authority.key.pem())
        #expect(loaded.cluster == "a.b-c_1" && loaded.certificate == cluster.authority.certificate)
        #expect(throws: TLSError.self) { _ = try CertificateAuthority(certificate: pem, key: try other.authority.key.pem()) }
        let node = try cluster.own(Cluster.one)
        let error = #expect(throws: TLSError.self) {
            _ = try CertificateAuthority(certificate: try node.certificate.pem(), key: try node.key.pem())
        }
        #expect(error?.code == .malformed)
    }

    @Test("a file of several authorities is read whole, and a damaged one refused")
    func bundles() throws {
        let all = [try Cluster("a"), try Cluster("b"), try Cluster("c")].map(\.authority.certificate)
        let text = try all.map { "# \($0.commonName)\n" + (try $0.pem()) }.joined()
        #expect(try Certificate.all(pem: text) == all)
        #expect(throws: TLSError.self) { _ = try Certificate.all(pem: text.replacing("MII", with: "M*I", maxReplacements: 2)) }
        for text in ["", "-----BEGIN CERTIFICATE-----", "nonsense", String(repeating: "x", count: 5 << 20)] {
            #expect(throws: TLSError.self) { _ = try Certificate.all(pem: text) }
        }
        // An encrypted key must not make OpenSSL ask for the password.
        let encrypted = try Judge.run(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-aes128", "-pass", "pass:x"])
        #expect(encrypted.output.contains("ENCRYPTED"))
        #expect(throws: TLSError.self) { _ = try PrivateKey(pem: encrypted.output) }
    }

    @Test("damaged input never traps and leaves no memory behind")
    func damaged() throws {
        var random = SeededRandom(seed: 7)
        let cluster = try Cluster()
        let certificate = try cluster.own(Cluster.one).certificate.der
        let request = try CertificateRequest(key: try PrivateKey.generate(), uri: "tulle://a/node/\(Cluster.one)").der
        let key = Array(try PrivateKey.generate().pem().utf8)
        func damaged(_ bytes: [UInt8]) -> [UInt8] {
            var bytes = bytes
            if Int.random(in: 0..<4, using: &random) == 0 { bytes.removeLast(Int.random(in: 1...bytes.count, using: &random)) }
            for _ in 0..<Int.random(in: 0...4, using: &random) where !bytes.isEmpty {
                bytes[Int.random(in: bytes.indices, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            return bytes
        }
        var good = 0
        func round() {
            for _ in 0..<1000 {
                if (try? Certificate(der: damaged(certificate)).identity) != nil { good += 1 }
                if (try? CertificateRequest(der: damaged(request))) != nil { good += 1 }
                if (try? PrivateKey(pem: String(decoding: damaged(key), as: UTF8.self))) != nil { good += 1 }
                _ = try? Certificate.all(pem: String(decoding: damaged(key), as: UTF8.self))
            }
        }
        round()
        let before = residentBytes()
        for _ in 0..<5 { round() }
        // One lost object of 500 bytes in each of 20,000 calls would be 10 MB.
        #expect(residentBytes() - before < 5 << 20)
        #expect(good > 0, "the damage is not always fatal, so the good paths were walked too")
    }
}
