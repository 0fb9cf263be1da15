/// bench-tool: the measuring programs that `bench/run` needs and that no distribution has. Results go to stdout, one line of
/// `name=value` each; times are in the unit that the name says.
///
///     bench-tool flood ADDRESS PORT SECONDS          sends UDP packets of 64 bytes as fast as it can: sent=
///     bench-tool sink PORT                           counts what comes, until nothing has for half a second: received=
///     bench-tool ping ADDRESS PORT SECONDS           one such packet there and back at a time: count= p50_us= p99_us=
///     bench-tool echo PORT                           the other end; ends when nothing has come for a second
///     bench-tool runs SOCKET ROUNDS NETWORK...       containers that do nothing, by the engine's API: one line each
///     bench-tool fill STORE NETWORK PREFIX COUNT     adds nodes with one block each to a store whose agent is down
///     bench-tool start ROUTES SOCKET LOG COMMAND...  starts an agent and watches it: see AgentStart.swift
///     bench-tool refuse PORT FILE                    answers every HTTP request with an error; their number is in the file
///     bench-tool time COUNT COMMAND...               runs a program again and again: ms= of each run
import Glibc

struct Arguments {
    var rest = Array(CommandLine.arguments.dropFirst())

    mutating func text(_ what: String) -> String {
        guard !rest.isEmpty else { die("\(what) is missing") }
        return rest.removeFirst()
    }
    mutating func number(_ what: String) -> Int {
        let text = text(what)
        guard let number = Int(text), number >= 0 else { die("\(what) is no number: \(text)") }
        return number
    }
    mutating func port() -> UInt16 { UInt16(clamping: number("PORT")) }
}

var given = Arguments()
switch given.text("the command") {
case "flood": flood(to: given.text("ADDRESS"), port: given.port(), seconds: given.number("SECONDS"))
case "sink": sink(port: given.port())
case "ping": ping(given.text("ADDRESS"), port: given.port(), seconds: given.number("SECONDS"))
case "echo": echo(port: given.port())
case "runs": runContainers(socket: given.text("SOCKET"), rounds: given.number("ROUNDS"), networks: given.rest)
case "fill":
    fill(
        store: given.text("STORE"), network: given.text("NETWORK"), prefix: given.text("PREFIX"), count: given.number("COUNT"))
case "start":
    watchStart(
        routes: given.number("ROUTES"), socket: given.text("SOCKET"), log: given.text("LOG"), command: given.rest)
case "refuse": refuse(port: given.port(), count: given.text("FILE"))
case "time": timeProgram(count: given.number("COUNT"), command: given.rest)
case let other: die("no such command: \(other)")
}
