/// How the program ends; the numbers are those of sysexits.h.
import Agent
import Glibc
import LocalAPI

enum ExitStatus {
    static let success: Int32 = 0
    static let failure: Int32 = 1
    /// EX_USAGE: a command, an option or a setting is wrong.
    static let usage: Int32 = 64
    /// EX_UNAVAILABLE: the agent does not answer.
    static let unreachable: Int32 = 69
    /// EX_NOPERM.
    static let permission: Int32 = 77
}

/// Ends a command with a message and a status.
struct CommandFailure: Error, Equatable {
    let status: Int32
    let message: String

    init(_ status: Int32, _ message: String) {
        self.status = status
        self.message = message
    }

    init(any error: any Error) {
        switch error {
        case let error as CommandFailure: self = error
        case let error as LocalError: self.init(error)
        case let error as ConfigurationError: self.init(error)
        case let error as OutputFailure where error.isClosed: self.init(ExitStatus.success, "")
        case let error as OutputFailure:
            self.init(ExitStatus.failure, "cannot write the output: \(String(cString: strerror(error.code)))")
        default: self.init(ExitStatus.failure, "\(error)")
        }
    }

    private init(_ error: LocalError) {
        let status =
            switch error.code {
            case .unreachable, .silent: ExitStatus.unreachable
            case .permission: ExitStatus.permission
            default: ExitStatus.failure
            }
        self.init(status, error.description)
    }

    private init(_ error: ConfigurationError) {
        self.init(error.code == .permission ? ExitStatus.permission : ExitStatus.usage, error.description)
    }
}
