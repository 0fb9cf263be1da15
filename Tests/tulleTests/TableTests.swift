import LocalAPI
import Testing

@testable import tulle

@Suite struct TableTests {
    @Test("columns are aligned, wide characters take two, nothing is a dash, and no line ends in a blank")
    func networks() {
        #expect(
            Sample.networks.table.text(color: false) == """
                NAME  ID            STATE            VNI   MTU  SUBNETS                    BLOCKS  ENDPOINTS  NODES        REASON
                shop  0123456789ab  active       1048576  1450  10.32.0.0/16,fd00:32::/64       3        2/5  web-1,web-2  -
                店    fedcba987654  quarantined  1048577     -  10.33.0.0/16                    0        0/0  -            another subnet than web-2's

                """)
    }

    @Test("an optional column without values is left out; an empty list has its header")
    func optional() {
        #expect(
            [NetworkReport]().table.text(color: false)
                == "NAME  ID  STATE  VNI  MTU  SUBNETS  BLOCKS  ENDPOINTS  NODES\n")
    }

    @Test("endpoints")
    func endpoints() {
        #expect(
            Sample.endpoints.table(now: Sample.now).text(color: false) == """
                CONTAINER  NETWORK  ADDRESSES             NODE   STATE      SINCE  MAC                ID
                cart       shop     10.32.0.2,fd00:32::2  web-1  joined     2 h    02:42:0a:20:00:02  aaaaaaaaaaaa
                -          shop     10.32.1.2             web-2  suspended  -      -                  cccc

                """)
    }

    @Test("nodes")
    func nodes() {
        #expect(
            Sample.nodes.table(now: Sample.now).text(color: false) == """
                NAME    ADDRESS    AGENT           STATE   NETWORKS  BLOCKS  VERSION  ID
                web-1*  192.0.2.1  192.0.2.1:7940  alive          1       3  0.1.0    5f0c0000-000
                web-2   -          -               silent         0       0  -        5f0d

                """)
    }

    @Test("colour changes no alignment")
    func color() {
        let table = Table(
            columns: [.init(title: "A"), .init(title: "B", isNumber: true)], rows: [[.init("x", .good), .init(1)], [.init("long", .bad), .init(22)]])
        #expect(table.text(color: true) == "A      B\n\u{1b}[32mx\u{1b}[0m      1\n\u{1b}[31mlong\u{1b}[0m  22\n")
        #expect(table.text(color: false) == "A      B\nx      1\nlong  22\n")
    }

    @Test("control characters in a name do not reach the terminal")
    func control() {
        #expect(Table.Cell("a\u{1b}[31m\n\u{202e}b").text == "a?[31m??b")
    }

    @Test("widths", arguments: [("", 0), ("abc", 3), ("é", 1), ("e\u{301}", 1), ("店", 2), ("🦀", 2), ("👩‍👧", 2), ("ｶ", 1), ("한", 2)])
    func widths(text: String, width: Int) {
        #expect(TextWidth.width(text) == width)
    }

    @Test(
        "durations are said in their largest unit",
        arguments: [(-5, "0 s"), (0, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (86_399, "23 h"), (864_000, "10 d")])
    func durations(seconds: Int64, text: String) {
        #expect(Humane.duration(seconds: seconds) == text)
    }

    @Test("the status has one line a subject")
    func status() {
        #expect(
            Sample.status.text(now: Sample.now, color: false) == """
                NODE      web-1 (5f0c0000-0000-4000-8000-000000000001), 192.0.2.1, MTU 1500
                CLUSTER   c1, 3 of 3 nodes alive
                STORE     embedded at 192.0.2.1:7940, reachable, revision 42
                DOCKER    28.1.1 at /run/docker.sock, reachable, 1 network
                LEASE     held, 9 min left
                HERE      1 network, 2 endpoints
                SYNCED    3 s ago
                DRIFT     0 repaired
                VERSION   0.1.0
                PROBLEMS  none

                """)
    }

    @Test("what is not known or not well is said")
    func poorStatus() {
        let status = StatusReport(
            version: "0.1.0", node: .init(id: "i", name: "n"), store: .init(kind: "embedded", reachable: false), lease: .init(state: .pending),
            problems: ["the store does not answer: start its agent", "no underlay: give --underlay"])
        #expect(
            status.text(now: Sample.now, color: false) == """
                NODE      n (i), no underlay address
                CLUSTER   none yet
                STORE     embedded, not reachable
                DOCKER    not used
                LEASE     pending
                HERE      0 networks, 0 endpoints
                SYNCED    never
                DRIFT     0 repaired
                VERSION   0.1.0
                PROBLEMS  the store does not answer: start its agent
                          no underlay: give --underlay

                """)
        #expect(status.text(now: Sample.now, color: true).contains("\u{1b}[31mno underlay: give --underlay\u{1b}[0m\n"))
    }
}
