/// The `tulle` program: the agent, and the commands that ask it.
///
/// `main` only gathers what the process was given; `Program.run` does all else and returns the exit status, so that tests run the
/// very same commands. Nothing heavy happens before a command is known: `tulle version` starts no thread.
import FoundationEssentials
import Glibc

@main
enum Main {
    static func main() async {
        // A reader that went away (`| head`) is an error of write(2), not a signal.
        signal(SIGPIPE, SIG_IGN)
        let environment = ProcessInfo.processInfo.environment
        let status = await Program.run(
            Array(CommandLine.arguments.dropFirst()), environment: environment, console: Console(environment: environment))
        exit(status)
    }
}
