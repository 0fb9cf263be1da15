import Glibc
import HTTP
import TLS
import TestKit
import Testing

/// The `openssl` program at the other end, as a judge that is not ours.
@Suite(.timeLimit(.minutes(2)))
struct HTTPTLSInteropTests {
    /// Authority, certificate and key of a node as files.
    private func files(_ cluster: SecureCluster, _ own: TLSContext.Own) throws -> (files: ScratchFiles, arguments: [String]) {
        let files = ScratchFiles()
        return (
            files,
            [
                "-CAfile", files.write("ca", try cluster.authority.certificate.pem()), "-cert", files.write("crt", try own.certificate.pem()),
                "-key", files.write("key", try own.key.pem()),
            ]
        )
    }

    private func ask(_ server: HTTPServer, _ arguments: [String]) throws -> LabProcess.Result {
        guard case .tcp(_, let port) = server.address else { throw LabFailure("no port") }
        let process = try LabProcess(
            ["openssl", "s_client", "-connect", "127.0.0.1:\(port)", "-quiet"] + arguments,
            input: Array("GET /who HTTP/1.1\r\nConnection: close\r\n\r\n".utf8))
        return try process.finish(within: .seconds(20))
    }

    @Test("s_client with a member's certificate is answered, and verifies the server")
    func client() async throws {
        let cluster = try SecureCluster()
        let (files, arguments) = try files(cluster, try cluster.own(SecureCluster.client))
        try await withSecureServer(try cluster.context(SecureCluster.server)) { server in
            let result = try ask(server, ["-verify_return_error"] + arguments)
            #expect(result.output.hasSuffix("secure \(SecureCluster.client)"), "\(result)")
        }
        withExtendedLifetime(files) {}
    }

    @Test("s_client with TLS 1.2 or without a certificate is refused with the right alert")
    func refusedClient() async throws {
        let cluster = try SecureCluster()
        let failures = Failures()
        let (files, arguments) = try files(cluster, try cluster.own(SecureCluster.client))
        try await withSecureServer(try cluster.context(SecureCluster.server), failures: failures) { server in
            let old = try ask(server, ["-tls1_2"] + arguments)
            #expect(old.status != 0 && old.talk.contains("alert protocol version"), "\(old)")
            let nobody = try ask(server, [])
            #expect(nobody.talk.contains("alert certificate required"), "\(nobody)")
            #expect(!nobody.output.contains("secure"))
            #expect(await failures.codes(2) == [.protocolVersion, .noCertificate])
        }
        withExtendedLifetime(files) {}
    }

    @Test("s_client gets neither a session ticket nor early data nor a second handshake")
    func noTickets() async throws {
        let cluster = try SecureCluster()
        let (files, arguments) = try files(cluster, try cluster.own(SecureCluster.client))
        try await withSecureServer(try cluster.context(SecureCluster.server)) { server in
            guard case .tcp(_, let port) = server.address else { return }
            let process = try LabProcess(
                ["openssl", "s_client", "-connect", "127.0.0.1:\(port)", "-ign_eof"] + arguments,
                input: Array("GET /who HTTP/1.1\r\nConnection: close\r\n\r\n".utf8))
            let result = try process.finish(within: .seconds(20))
            for part in ["New, TLSv1.3", "Verify return code: 0 (ok)", "No ALPN negotiated", "Early data was not sent"] {
                #expect(result.output.contains(part), "\(part): \(result.output)")
            }
            #expect(!result.output.contains("Session-ID: ") && !result.output.contains("session ticket"))
        }
        withExtendedLifetime(files) {}
    }

    @Test("our client speaks with s_server, and s_server finds our certificate good; with TLS 1.2 alone it is refused")
    func server() async throws {
        let cluster = try SecureCluster()
        let (files, arguments) = try files(cluster, try cluster.own(SecureCluster.server))
        for (version, isGood) in [("-tls1_3", true), ("-tls1_2", false)] {
            let process = try LabProcess(
                ["openssl", "s_server", "-accept", "127.0.0.1:0", "-www", "-Verify", "1", "-verify_return_error", version] + arguments)
            try process.wait(for: "ACCEPT 127.0.0.1:", within: .seconds(20))
            let line = process.outputSoFar().split(separator: "\n").last { $0.hasPrefix("ACCEPT") }
            let port = try #require(line?.split(separator: ":").last.flatMap { Int($0) })
            let client = HTTPClient(.tcp(host: "127.0.0.1", port: port), tls: try cluster.member())
            do {
                let text = try await client.text("/")
                #expect(isGood && text.contains("Cipher is TLS_AES_256_GCM_SHA384"), "\(text)")
            } catch {
                #expect(!isGood && (error as? HTTPError)?.tls?.code == .protocolVersion, "\(error)")
            }
            process.signal(SIGTERM)
            _ = try? process.finish(within: .seconds(10))
        }
        withExtendedLifetime(files) {}
    }
}
