import Agent
import Testing

@Suite("the agent's clocks")
struct AgentClockTests {
    @Test("a test's clock is two numbers after a word that nobody writes by mistake", arguments: [
        ("tulle-test-clock 3600 -3600", 3600, -3600), ("tulle-test-clock 0 0", 0, 0),
    ])
    func read(text: String, boot: Int, wall: Int) throws {
        let shift = try #require(AgentClock.parse(text))
        #expect(shift == (Double(boot), wall))
    }

    @Test("anything else is none", arguments: [
        "", "3600 3600", "tulle-test-clock", "tulle-test-clock 1", "tulle-test-clock 1 2 3", "tulle-test-clock x 1", "tulle-test-clock 1 99999999999999",
    ])
    func refused(text: String) { #expect(AgentClock.parse(text) == nil) }

    @Test("without the variable the clocks are the machine's")
    func machine() { #expect(!AgentClock.isTest) }
}
