import Testing

@testable import Agent

@Suite struct ConfigurationFuzzTests {
    private let seed = Array(
        """
        # settings
        node-name: "web-1"
        lease: 10m
        token: 'it''s'
        scope: |
          local
        list: [a, b, {c: d}]
        anchor: &a !!str x
        alias: *a
        ? complex
        : value
        ---
        second: "\\x41\\u0042"
        """.utf8)

    private func parses(_ bytes: [UInt8]) -> Bool {
        do {
            let file = try ConfigurationFile(path: "f", bytes: bytes)
            #expect(Set(file.entries.map(\.key)).count == file.entries.count)
            return true
        } catch {
            #expect(error.description.hasPrefix("f:"))
            return false
        }
    }

    @Test("damaged files never trap, and whatever is refused is refused with its line")
    func damaged() {
        var generator = SystemRandomNumberGenerator()
        let tokens: [[UInt8]] = ["&", "*", "!", "? ", ": ", "- ", "\n", "\t", "{", "}", "[", "]", "\"", "'", "|", ">", "%", "---", "...", "\u{0}"].map { Array($0.utf8) }
        for _ in 0..<4000 {
            var bytes = seed
            for _ in 0..<Int.random(in: 1...12, using: &generator) {
                let place = Int.random(in: 0..<max(bytes.count, 1), using: &generator)
                guard place < bytes.count else { break }
                switch Int.random(in: 0..<4, using: &generator) {
                case 0: bytes[place] = UInt8.random(in: 0 ... .max, using: &generator)
                case 1: bytes.removeSubrange(place..<min(place + Int.random(in: 1...40, using: &generator), bytes.count))
                case 2: bytes.insert(contentsOf: tokens.randomElement(using: &generator) ?? [], at: place)
                default: bytes.insert(contentsOf: bytes[place..<min(place + 30, bytes.count)], at: 0)
                }
            }
            _ = parses(bytes)
        }
    }

    @Test("random bytes and deep nesting never trap")
    func garbage() {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<1000 {
            _ = parses((0..<Int.random(in: 0...200, using: &generator)).map { _ in UInt8.random(in: 0 ... .max, using: &generator) })
        }
        for piece in ["[", "{", "- ", "? ", "a: ", "{a: ", "!", "&a ", "\"", "%YAML 1.1\n"] {
            #expect(!parses(Array(String(repeating: piece, count: 10_000).utf8)), "\(piece)")
        }
    }

    @Test("every text is a value or refused by every setting")
    func values() {
        var generator = SystemRandomNumberGenerator()
        let alphabet = Array("01aZ.:/[]-_ %+xdhms\u{0}\né🦀")
        for _ in 0..<3000 {
            let text = String((0..<Int.random(in: 0...24, using: &generator)).map { _ in alphabet.randomElement(using: &generator) ?? "a" })
            var configuration = Configuration(nodeName: "n")
            for option in ConfigurationOption.all {
                var changed = configuration
                let isTaken = option.set(&changed, text)
                #expect(isTaken || changed == configuration, "\(option.name) was changed by a refused value")
                configuration = changed
            }
            #expect(configuration.nodeName.utf8.count <= 64)
            #expect(configuration.stateDirectory.hasPrefix("/") && !configuration.stateDirectory.hasSuffix("/"))
        }
    }
}
