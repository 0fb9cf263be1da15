@testable import Agent
import FoundationEssentials
import HTTP
import Store
import TLS
import TestKit
import Testing

/// A real etcd that serves with TLS and asks for certificates, all made by the `openssl` program, as an administrator would.
@Suite("etcd with TLS", .serialized, .timeLimit(.minutes(2)), .enabled(if: EtcdProcess.isAvailable, "there is no etcd on PATH: install the package etcd-server, or run scripts/test as root"))
struct EtcdTLSTests {
    /// Files of one authority: `ca.pem`, and of each name NAME.pem and NAME.key.
    private final class Certificates: Sendable {
        let directory: String

        init(_ names: String...) throws {
            directory = "/tmp/tulle-etcds-\(UInt64.random(in: .min ... .max))"
            try FileManager.default.createDirectory(atPath: directory + "/new", withIntermediateDirectories: true)
            // `openssl ca` alone makes certificates that have ended.
            let settings = """
                [ca]
                default_ca = own
                [own]
                database = \(directory)/index
                serial = \(directory)/serial
                new_certs_dir = \(directory)/new
                default_md = sha256
                policy = any
                unique_subject = no
                x509_extensions = leaf
                [any]
                commonName = optional
                organizationName = optional
                [leaf]
                subjectAltName = IP:127.0.0.1,DNS:localhost
                [req]
                distinguished_name = name
                [name]
                """
            try settings.write(toFile: directory + "/settings", atomically: true, encoding: .utf8)
            try "".write(toFile: directory + "/index", atomically: true, encoding: .utf8)
            try "01".write(toFile: directory + "/serial", atomically: true, encoding: .utf8)
            // RSA, as most etcd clusters have it.
            try openssl("req -x509 -newkey rsa:2048 -nodes -days 10 -subj /CN=storage -addext basicConstraints=critical,CA:TRUE -keyout ca.key -out ca.pem")
            for name in names { try issue(name) }
        }
        deinit { try? FileManager.default.removeItem(atPath: directory) }

        /// - Parameter end: seconds since 1970.
        func issue(_ name: String, end: Int = 2_400_000_000, curve: Bool = false, subject: String? = nil) throws {
            let key = curve ? "-newkey ec -pkeyopt ec_paramgen_curve:P-256" : "-newkey rsa:2048"
            try openssl("req -new \(key) -nodes -subj \(subject ?? "/CN=\(name)") -config settings -keyout \(name).key -out \(name).csr")
            let end = try LabProcess(["date", "-u", "-d", "@\(end)", "+%y%m%d%H%M%SZ"]).finish(within: .seconds(5)).output.trimmed
            try openssl("ca -batch -notext -config settings -cert ca.pem -keyfile ca.key -startdate 200101000000Z -enddate \(end) -in \(name).csr -out \(name).pem")
        }

        private func openssl(_ line: String) throws {
            let result = try LabProcess(["sh", "-c", "cd \(directory) && exec openssl \(line)"]).finish(within: .seconds(20))
            guard result.status == 0 else { throw LabFailure("openssl \(line): \(result.talk)") }
        }
        func path(_ file: String) -> String { "\(directory)/\(file)" }

        /// As an agent's flags would have it.
        func settings(authority: String? = nil, client: String?) -> Configuration {
            var settings = Configuration(nodeName: "h1")
            settings.storeAuthorities = authority ?? path("ca.pem")
            if let client { (settings.storeCertificate, settings.storeKey) = (path(client + ".pem"), path(client + ".key")) }
            return settings
        }

        /// - Parameter time: the client's clock, seconds since 1970; nil: the host's.
        func client(at time: Int? = nil) throws -> @Sendable (HTTPAddress) -> HTTPClient {
            let read = { (name: String) in try String(contentsOfFile: self.path(name), encoding: .utf8) }
            let context = try TLSContext(
                own: .init(certificate: Certificate(pem: read("agent.pem")), key: PrivateKey(pem: read("agent.key"))),
                trust: .serverName(authorities: Certificate.all(pem: read("ca.pem"))), now: { Int64(time ?? wallSeconds()) })
            let slot = TLSContextSlot(context)
            return { HTTPClient($0, tls: slot) }
        }

        func etcd() async throws -> EtcdProcess {
            try await EtcdProcess.single(
                ["--cert-file=\(path("server.pem"))", "--key-file=\(path("server.key"))", "--client-cert-auth", "--trusted-ca-file=\(path("ca.pem"))", "--bcrypt-cost=4"],
                secure: try client())
        }
        /// With a certificate that was good at that time; it asks its clients for none.
        func etcd(_ name: String, at time: Int) async throws -> EtcdProcess {
            try await EtcdProcess.single(
                ["--cert-file=\(path(name + ".pem"))", "--key-file=\(path(name + ".key"))"], secure: try client(at: time))
        }
    }

    private func store(_ etcd: EtcdProcess, _ settings: Configuration, scheme: String = "etcds", user: String = "") throws -> EtcdStore {
        try StoreAccess.etcd(EtcdLocation(parsing: "\(scheme)://\(user)\(etcd.address)"), settings)
    }

    /// What an attempt to use it says.
    private func refusal(_ store: EtcdStore) async throws -> StoreError {
        do { _ = try await store.identity() } catch let error as StoreError { return error }
        throw LabFailure("it was answered")
    }

    private func expect(_ error: StoreError, of operation: String = "read the store's identity from etcd", _ cause: String, _ remedy: String, _ place: SourceLocation = #_sourceLocation) {
        #expect(error.operation == operation, sourceLocation: place)
        #expect(error.cause.contains(cause), "\(error)", sourceLocation: place)
        #expect(error.remedy.contains(remedy), "\(error)", sourceLocation: place)
    }

    @Test("certificates on both ends, user and password over them: the store is founded, read, watched and written", arguments: [false, true])
    func whole(isEC: Bool) async throws {
        let files = try Certificates("server", "agent")
        try files.issue("own", curve: isEC, subject: "/O=tulle")
        let etcd = try await files.etcd()
        let client = try files.client()(etcd.address)
        for (path, body) in [
            ("role/add", #"{"name":"root"}"#), ("role/add", #"{"name":"tulle"}"#),
            // "/tulle/" and what is below it, in base64.
            ("role/grant", #"{"name":"tulle","perm":{"permType":"READWRITE","key":"L3R1bGxlLw==","range_end":"L3R1bGxlMA=="}}"#),
            ("user/add", #"{"name":"root","password":"root"}"#), ("user/add", #"{"name":"agent","password":"a/b@c"}"#),
            ("user/grant", #"{"user":"root","role":"root"}"#), ("user/grant", #"{"user":"agent","role":"tulle"}"#), ("enable", "{}"),
        ] {
            let answer = try await client.send(HTTPRequest("POST", "/v3/auth/" + path, body: Array(body.utf8)), timeout: .seconds(5))
            try #require(answer.status == 200, "\(path): \(String(decoding: answer.body, as: UTF8.self))")
        }
        let store = try store(etcd, files.settings(client: "own"), user: "agent:a%2Fb%40c@")
        _ = try await store.found(StoreIdentity(cluster: "c", epoch: 1))
        let start = try await store.list(prefix: "").revision
        var events = await store.watch(prefix: "", after: start).makeAsyncIterator()
        let outcome = try await store.commit(StoreTransaction(operations: [.put(key: "a", value: Array("{}".utf8), lease: try await store.grantLease(seconds: 60))]))
        guard case .committed = outcome else { throw LabFailure("no commit: \(outcome)") }
        guard case .changes(let changes, _)? = try await events.next() else { throw LabFailure("no event") }
        #expect(changes.count == 1)
        // With a certificate that names somebody, without the password, and without a certificate.
        let named = try await refusal(try self.store(etcd, files.settings(client: "agent"), user: "agent:a%2Fb%40c@"))
        #expect(named.code == .permission && named.remedy.contains("without a CommonName"), "\(named)")
        let nobody = try await refusal(try self.store(etcd, files.settings(client: "own")))
        #expect(nobody.code == .permission && nobody.remedy.contains("USER:PASSWORD"), "\(nobody)")
        expect(try await refusal(try self.store(etcd, files.settings(client: nil), user: "agent:a%2Fb%40c@")),
            of: "authenticate user 'agent' at etcd", "certificate", "--store-cert")
    }

    @Test("another authority, another name, a certificate that has ended, and no TLS at all: each says what is wrong and what helps")
    func wrong() async throws {
        let files = try Certificates("server", "agent")
        let others = try Certificates("agent")
        let etcd = try await files.etcd()
        expect(try await refusal(try store(etcd, files.settings(authority: others.path("ca.pem"), client: "agent"))), "is of the authority \"storage\"", "--store-ca")
        expect(try await refusal(try store(etcd, others.settings(authority: files.path("ca.pem"), client: "agent"))), "our certificate", "--store-cert")
        expect(try await refusal(try store(etcd, files.settings(client: nil))), "certificate", "--store-cert")
        // Its clients must speak TLS.
        expect(try await refusal(try store(etcd, files.settings(client: nil), scheme: "etcd")), "\(etcd.address)", "etcds://")

        let end = wallSeconds() + 2
        try files.issue("late", end: end)
        try await eventually { wallSeconds() > end }
        expect(try await refusal(try store(etcd, files.settings(client: "late"))), "our certificate", "not ended")
        etcd.stop()
        let old = try await files.etcd("late", at: end - 1)
        expect(try await refusal(try store(old, files.settings(client: "agent"))), "was valid until", "Renew etcd's certificate")
        old.stop()
        let plain = try await EtcdProcess.single()
        expect(try await refusal(try store(plain, files.settings(client: "agent"))), "handshake", "etcd:// in place of etcds://")
    }
}
