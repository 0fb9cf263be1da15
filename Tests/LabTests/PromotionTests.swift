@testable import Agent
import LocalAPI
import Store
import TestKit
import Testing

/// The store's host is lost, and another takes its place; or the store moves to etcd: seen from containers and their users.
@Suite("another store in the place of the cluster's", .serialized, .needsLab, .needsEmbeddedStore("it begins with a store that an agent serves"), .lab("promo"))
struct PromotionTests {
    init() async throws { try await lab.clear() }

    private func place(_ host: LabHost) async throws -> String? { try await host.agent.status().store.address }
    private func isSound(_ hosts: [LabHost], epoch: UInt64) async throws -> Bool {
        for host in hosts {
            guard let status = try? await host.agent.status() else { return false }
            guard status.store.epoch == epoch, status.store.reachable, status.lease.state == .held, status.problems.isEmpty else { return false }
        }
        return true
    }
    private func serving() async throws -> LabHost {
        for host in hosts where try await place(host) == "this node" { return host }
        throw LabFailure("no agent serves the store")
    }

    @Test("the store's host loses power: another one's copy takes its place, traffic goes on, and the old store's agent follows when it is back")
    func promote() async throws {
        let old = try await serving()
        let others = hosts.filter { "\($0)" != "\(old)" }
        let new = others[0]
        try old.createNetwork("shop", "--subnet 10.32.0.0/16")
        let all = try await runEverywhere("c", on: "shop")
        let addresses = try all.map { try $0.address(on: "shop") }
        // While it answers nobody takes its place.
        let refusal = try lab.attempt(["tulle", "\(new)", "store", "promote"])
        #expect(refusal.status == 1 && refusal.talk.contains("answers") && refusal.talk.contains("stop the agent there first"), "\(refusal.talk)")
        try lab.run(["kill", "agent", "\(old)", "KILL"])
        let there = try #require(all.first { "\($0.host)" == "\(others[1])" })
        let here = try #require(all.first { "\($0.host)" == "\(new)" })
        let pinger = try Pinger(from: here, to: there.address(on: "shop"))
        let told = try lab.run(["tulle", "\(new)", "store", "promote", "--output", "json"], within: .seconds(30))
        let report = try LocalJSON.decode(StoreMoveReport.self, from: Array(told.utf8))
        #expect(report.silent == ["\(old)"] && report.place == "this node")
        try await eventually("\(others[1]) follows", within: .seconds(10)) { try await others[1].agent.status().store.epoch == report.epoch }
        #expect(try await place(others[1]) == "\(new.address):7940")
        // Reads and writes go on; only what looks free is not taken.
        try others[1].createNetwork("second", "")
        try await networkIsEverywhere("second", on: others)
        try await eventually("only \(old) is missing") {
            try await new.agent.status().problems.contains { $0.contains("for \(old) was not heard") }
        }
        let unsure = try new.dockerRefuses("run -d --name early --network second lab sleep 60")
        #expect(unsure.contains("\(old) was not heard") && unsure.contains("tulle node remove \(old)"), "\(unsure)")
        try new.docker("rm -f early")
        try new.runContainer("more", on: "shop")
        // It comes back with its old store, which is over.
        try old.startAgent()
        try await eventually("all follow the new store", within: .seconds(30)) { try await isSound(hosts, epoch: report.epoch) }
        #expect(try await place(old) == "\(new.address):7940")
        try await networkIsEverywhere("second", within: .seconds(10))
        try new.runContainer("early", on: "second")
        #expect(try unreachablePairs(all, addresses: addresses) == [])
        try pinger.expectNoLoss()
        // A host joins by whoever is asked, and the certificates are renewed by the new authority.
        #expect(try lab.shell("ls \(old.directory)/lib/tulle/store.db.former").isEmpty == false)
        #expect(try lab.run(["tulle", "\(new)", "token", "create"]).contains("tulle2-"))
    }

    @Test("another node takes the certificate authority over: it signs from then on, and all believe it and the one before")
    func authority() async throws {
        let old = try await serving()
        let new = try #require(hosts.first { "\($0)" != "\(old)" })
        let third = try #require(hosts.last { "\($0)" != "\(old)" })
        try lab.run(["tulle", "\(new)", "authority", "take"], within: .seconds(30))
        let again = try lab.attempt(["tulle", "\(new)", "authority", "take"])
        #expect(again.status == 1 && again.talk.contains("it has it"), "\(again.talk)")
        try await eventually("all are whole", within: .seconds(20)) { try await lab.isWhole() }
        func authorities(_ host: LabHost) throws -> Int {
            Int(try lab.shell("grep -c 'BEGIN CERTIFICATE' \(host.directory)/lib/tulle/node.pem")) ?? 0
        }
        let count = try authorities(new)
        #expect(count >= 3, "its own certificate and two authorities")
        for host in hosts { try await eventually("\(host) believes all authorities") { try authorities(host) == count } }
        // A host whose certificate has ended, or is lost, comes back by the new one.
        try third.stop("agent", "TERM")
        let token = try await new.agent.joinToken()
        try lab.shell("rm -r \(third.directory)/lib/tulle")
        let refused = try lab.attempt(["tulle", "\(new)", "node", "remove", "\(third)"])
        #expect(refused.status == 0, "\(refused.talk)")
        try third.startAgent("--join \(new.address) --token \(token)")
        try await eventually("the host is back as a new node", within: .seconds(20)) { try await lab.isWhole() }
    }

    @Test("the store's file is lost, and the agent does not start: a backup takes its place, and the nodes add what they hold")
    func offline() async throws {
        let old = try await serving()
        let other = try #require(hosts.first { "\($0)" != "\(old)" })
        try old.createNetwork("shop", "--subnet 10.32.0.0/16")
        try await networkIsEverywhere("shop")
        let backup = try lab.run(["tulle", "\(other)", "store", "export"])
        try lab.run(["exec", "\(old)", "sh", "-c", "cat > /run/backup.json"], input: Array(backup.utf8))
        let all = try await runEverywhere("c", on: "shop")
        try other.createNetwork("later", "")
        try await networkIsEverywhere("later")
        let held = try lab.attempt(["tulle", "\(old)", "store", "import", "--offline", "/run/backup.json"])
        #expect(held.status == 1 && held.talk.contains("an agent runs"), "\(held.talk)")
        try old.stop("agent", "KILL")
        try lab.shell("rm \(old.directory)/lib/tulle/store.db*")
        #expect(throws: (any Error).self) { try old.startAgent() }
        try lab.run(["tulle", "\(old)", "store", "import", "--offline", "/run/backup.json"])
        try old.startAgent()
        try await eventually("all follow", within: .seconds(40)) {
            let epoch = try await old.agent.status().store.epoch ?? 0
            guard epoch > 1 else { return false }
            return try await isSound(hosts, epoch: epoch)
        }
        #expect(try await old.network("later") != nil, "made after the backup")
        #expect(try unreachablePairs(all, addresses: all.map { try $0.address(on: "shop") }) == [])
        for host in hosts { try host.runContainer("more", on: "later") }
    }

    @Test("a host whose store another node took over, and whose own file is lost, follows when its agent starts; no backup takes that store's place")
    func lostAndFollowing() async throws {
        let old = try await serving()
        let new = try #require(hosts.first { "\($0)" != "\(old)" })
        try old.createNetwork("shop", "--subnet 10.32.0.0/16")
        let all = try await runEverywhere("c", on: "shop")
        let backup = try lab.run(["tulle", "\(old)", "store", "export"])
        try lab.run(["exec", "\(old)", "sh", "-c", "cat > /run/backup.json"], input: Array(backup.utf8))
        try old.stop("agent", "KILL")
        try lab.run(["tulle", "\(new)", "store", "promote"], within: .seconds(30))
        try lab.shell("echo damaged > \(old.directory)/lib/tulle/store.db; rm -f \(old.directory)/lib/tulle/store.db-*")
        let refused = try lab.attempt(["tulle", "\(old)", "store", "import", "--offline", "/run/backup.json"])
        #expect(refused.status == 1 && refused.talk.contains("follows a newer store"), "\(refused.talk)")
        try old.startAgent()
        try await eventually("all follow", within: .seconds(40)) {
            let epoch = try await new.agent.status().store.epoch ?? 0
            guard epoch > 1 else { return false }
            return try await isSound(hosts, epoch: epoch)
        }
        #expect(try unreachablePairs(all, addresses: all.map { try $0.address(on: "shop") }) == [])
        #expect(try lab.shell("cat \(old.directory)/lib/tulle/store.db.former") .contains("damaged"))
    }

    @Test("two nodes that cannot see each other both promote: when they can, one of the stores counts, and all follow it")
    func twice() async throws {
        let old = try await serving()
        let others = hosts.filter { "\($0)" != "\(old)" }
        try old.createNetwork("shop", "--subnet 10.32.0.0/16")
        let all = try await runEverywhere("c", on: "shop")
        try lab.run(["kill", "agent", "\(old)", "KILL"])
        for host in others { try host.sh("nft 'add table inet cut; add chain inet cut in { type filter hook input priority -300; }; add rule inet cut in tcp dport 7940 ip saddr != \(host.address) drop'") }
        var epochs: [UInt64] = []
        for host in others {
            let told = try lab.run(["tulle", "\(host)", "store", "promote", "--output", "json"], within: .seconds(60))
            epochs.append(try LocalJSON.decode(StoreMoveReport.self, from: Array(told.utf8)).epoch)
        }
        try #require(epochs[0] != epochs[1])
        for host in others { try host.sh("nft delete table inet cut") }
        try old.startAgent()
        let winner = max(epochs[0], epochs[1])
        try await eventually("all follow the higher epoch", within: .seconds(60)) { try await isSound(hosts, epoch: winner) }
        #expect(try unreachablePairs(all, addresses: all.map { try $0.address(on: "shop") }) == [])
        for host in hosts { try host.runContainer("more", on: "shop") }
    }

    @Test("the store moves to etcd without a lost packet; an etcd that was emptied begins again with a backup and what the nodes hold")
    func migrate() async throws {
        let old = try await serving()
        let others = hosts.filter { "\($0)" != "\(old)" }
        try old.createNetwork("shop", "--subnet 10.32.0.0/16")
        let all = try await runEverywhere("c", on: "shop")
        let addresses = try all.map { try $0.address(on: "shop") }
        try EtcdMembers.startAlone(on: h3)
        try await eventually("etcd serves", within: .seconds(20)) { try EtcdMembers.isServing(h3) }
        let url = "etcd://\(h3.address):2379"
        let elsewhere = try lab.attempt(["tulle", "\(others[0])", "store", "migrate", "--to", url])
        #expect(elsewhere.status == 1 && elsewhere.talk.contains("run it on \(old)"), "\(elsewhere.talk)")
        let nothing = try lab.attempt(["tulle", "\(old)", "store", "migrate", "--to", "etcd://\(h3.address):9"])
        #expect(nothing.status == 1 && nothing.talk.contains("nothing was changed"), "\(nothing.talk)")
        // One that is off meanwhile asks the others when it is back.
        try others[1].stop("agent", "TERM")
        let pinger = try Pinger(from: all[0], to: addresses[1])
        let told = try lab.run(["tulle", "\(old)", "store", "migrate", "--to", url, "--output", "json"], within: .seconds(60))
        let report = try LocalJSON.decode(StoreMoveReport.self, from: Array(told.utf8))
        #expect(report.silent == ["\(others[1])"])
        try others[1].startAgent()
        try await eventually("all follow to etcd", within: .seconds(20)) { try await isSound(hosts, epoch: report.epoch) }
        for host in hosts { #expect(try await place(host)?.hasPrefix("etcd://") == true) }
        let backup = try lab.run(["tulle", "h2", "store", "export"])
        // After the backup: the nodes know of it.
        try h2.createNetwork("later", "")
        try await networkIsEverywhere("later")
        let later = try h1.runContainer("later1", on: "later")
        let address = try later.address(on: "later")
        try pinger.expectNoLoss()

        try lab.run(["exec", "h1", "sh", "-c", "cat > /run/backup.json"], input: Array(backup.utf8))
        let early = try lab.attempt(["tulle", "h1", "store", "import", "/run/backup.json"])
        #expect(early.status == 1 && early.talk.contains("answers"), "\(early.talk)")
        try h3.sh(#"curl -sf http://192.168.99.3:2379/v3/kv/deleterange -d '{"key":"AA==","range_end":"AA=="}'"#)
        try await eventually("the emptied store is refused") { try await h1.agent.status().problems.contains { $0.contains("nothing was removed") } }
        try lab.run(["tulle", "h1", "store", "import", "/run/backup.json"], within: .seconds(40))
        try await eventually("all have the store again", within: .seconds(30)) {
            let epoch = try await h1.agent.status().store.epoch ?? 0
            guard epoch > report.epoch else { return false }
            return try await isSound(hosts, epoch: epoch)
        }
        #expect(try await h3.network("later") != nil)
        #expect(try unreachablePairs(all, addresses: addresses) == [])
        let fresh = try h2.runContainer("later2", on: "later")
        try await fresh.mustReach(address)
    }
}
