import Agent
import Glibc
import Testing

@Suite struct ConfigurationErrorTests {
    private func message(_ flags: [String: String] = [:], _ environment: [String: String] = [:], file: String? = nil, host: String = "h") -> String {
        do {
            let settings = try file.map { try SettingsFile($0) }
            do {
                return "no error: \(try load(flags, environment, file: settings, host: host))"
            } catch {
                return error.description.replacing(settings?.path ?? "\u{0}", with: "FILE")
            }
        } catch { return "\(error)" }
    }

    @Test("a wrong value names the setting, the value, where it came from and what is allowed")
    func values() {
        let allowed = "give a duration from 1s to 7d, such as 90s or 1h30m"
        #expect(message(["lease": "ten"]) == "--lease: 'ten' is not allowed; \(allowed)")
        #expect(message([:], ["TULLE_LEASE": "ten"]) == "TULLE_LEASE: 'ten' is not allowed; \(allowed)")
        #expect(message(file: "# mine\n\nlease: ten\n") == "FILE:3: lease: 'ten' is not allowed; \(allowed)")
        #expect(
            message(["store": "etcd://u:secret@a:x"])
                == "--store: this value is not allowed; give embedded, or etcd's address: etcd://[USER[:PASSWORD]@]HOST:PORT,HOST:PORT[/PREFIX], "
                + "etcds:// with TLS, etcd+srv://DOMAIN")
        #expect(message(["store-cert": "/c"]).contains("store-cert and store-key belong together"))
        #expect(
            message(["underlay": String(repeating: "\u{1b}", count: 100)])
                == "--underlay: '\(String(repeating: "?", count: 80))…' is not allowed; "
                + "give an interface, an address of this host, or a network such as 192.0.2.0/24")
    }

    @Test("a secret is not printed")
    func secret() {
        #expect(
            message([:], ["TULLE_TOKEN": "se cret"])
                == "TULLE_TOKEN: this value is not allowed; give 16 to 256 printable characters without blanks")
        #expect(message(file: "token: secret").hasPrefix("FILE:1: token: this value is not allowed; "))
    }

    @Test("an unknown name is refused with the nearest one, a variable only warned of")
    func unknown() throws {
        #expect(message(file: "lease: 1m\nnode-nam: x\n") == "FILE:2: unknown key 'node-nam'; did you mean 'node-name'?")
        #expect(message(file: "Node_Name: x\n") == "FILE:1: unknown key 'Node_Name'; did you mean 'node-name'?")
        #expect(message(file: "zzz: x\n") == "FILE:1: unknown key 'zzz'")
        #expect(message(file: "config: x\n") == "FILE:1: unknown key 'config'")
        #expect(message(["leas": "1m"]) == "--leas: no such option; did you mean '--lease'?")
        #expect(
            try load([:], ["TULLE_NODENAME": "x", "TULLE_SOMETHING_ELSE": "y"]).warnings == [
                "TULLE_NODENAME is ignored: no such setting; did you mean 'TULLE_NODE_NAME'?",
                "TULLE_SOMETHING_ELSE is ignored: no such setting",
            ])
    }

    @Test("a named file must be there, and every file must be readable")
    func files() throws {
        #expect(message(["config": "/nonexistent/x"]) == "--config: there is no file '/nonexistent/x'")
        #expect(message([:], ["TULLE_CONFIG": "/nonexistent/x"]) == "TULLE_CONFIG: there is no file '/nonexistent/x'")
        #expect(message(["config": ""]) == "--config: '' is not allowed; give the path of a file")
        #expect(message(["config": "/tmp"]) == "/tmp: cannot be read: Is a directory")
        #expect(message(file: "a: " + String(repeating: "x", count: 70_000)) == "FILE: larger than 64 KiB; is it the right file?")
    }

    @Test("what is more than lines of key and value is refused with its line")
    func yaml() {
        #expect(message(file: "lease:\n  - 1m\n") == "FILE:1: lease must be a single value, not a list or a mapping")
        #expect(message(file: "lease: {a: b}\n") == "FILE:1: lease must be a single value, not a list or a mapping")
        #expect(message(file: "lease: &x 1m\n") == "FILE:1: anchors (&) are not read here; write the value itself")
        #expect(message(file: "lease: 1m\nscope: *x\n") == "FILE:2: aliases (*) are not read here; write the value itself")
        #expect(message(file: "lease: !!str 1m\n") == "FILE:1: tags (!) are not read here; write the value itself")
        #expect(message(file: "lease: 1m\n\nlease: 2m\n") == "FILE:3: lease is given twice, first on line 1")
        #expect(message(file: "lease:\nscope: local\n") == "FILE:1: lease has no value")
        #expect(message(file: "lease: ~\n") == "FILE:1: lease has no value")
        #expect(message(file: "- a\n") == "FILE:1: not lines of `key: value`")
        #expect(message(file: "\njust words\n") == "FILE:2: not lines of `key: value`")
        #expect(message(file: "lease: 1m\n? [a]\n: b\n") == "FILE:2: a key must be a single word")
        #expect(message(file: "lease: 1m\n---\nlease: 2m\n") == "FILE:2: a second document begins; only one is read")
        #expect(message(file: "lease: 1m\nscope: \"x\n").hasPrefix("FILE:3: not YAML: found unexpected end of stream"))
        #expect(message(file: "lease: 1m\n\tscope: x\n").hasPrefix("FILE:2: not YAML: "))
    }

    @Test("a file of nothing but comments is as good as none", arguments: ["", "# nothing\n", "---\n", "---\n...\n", "\u{feff}# bom\n", "{}"])
    func empty(text: String) throws {
        let file = try SettingsFile(text)
        var configuration = try load(file: file)
        configuration.file = nil
        #expect(configuration == Configuration(nodeName: "host1"))
    }

    @Test("settings that contradict each other are refused")
    func contradiction() {
        #expect(
            message(["lease": "1h"], ["TULLE_FORGET_AFTER": "1h"])
                == "TULLE_FORGET_AFTER: forget-after must be longer than lease: a node that may still give addresses must learn of a removed network; "
                + "raise forget-after or lower lease")
        #expect(
            message(["run-dir": "/run/x", "plugin-dir": "/run/x"])
                == "--plugin-dir: plugin-dir and run-dir are the same directory, and both sockets would be /run/x/tulle.sock; give --run-dir another directory")
    }

    @Test("a host's name that is no node name needs another")
    func hostName() {
        #expect(
            message(host: "(none)")
                == "node-name: the host's name '(none)' cannot be the node's; "
                + "give --node-name 1 to 64 letters, digits, '.', '-' and '_', a letter or digit first")
    }

    @Test("the nearest name is the one with fewest changes, and far ones are none")
    func nearest() {
        let names = ["lease", "listen", "log-level", "log-format"]
        #expect(ConfigurationHint.nearest(to: "laese", among: names) == "lease")
        #expect(ConfigurationHint.nearest(to: "LOG_LEVL", among: names) == "log-level")
        #expect(ConfigurationHint.nearest(to: "listne", among: names) == "listen")
        #expect(ConfigurationHint.nearest(to: "zebra", among: names) == nil)
        #expect(ConfigurationHint.nearest(to: "", among: names) == nil)
        #expect(ConfigurationHint.nearest(to: String(repeating: "l", count: 1000), among: names) == nil)
    }
}
