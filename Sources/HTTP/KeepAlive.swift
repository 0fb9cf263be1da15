import Glibc
import NIOCore

/// That the other host is gone, or this one's address, is known within six seconds, also to one that only waits for an answer (tcp(7)).
enum KeepAlive {
    private typealias Option = ChannelOptions.Types.SocketOption

    /// Of a client: it also bounds how long a server may let it wait for its acknowledgements, which a server must not do to a slow client.
    static var clientOptions: [(ChannelOptions.Types.SocketOption, Int)] {
        // Milliseconds that sent bytes may stay unacknowledged.
        options + [(Option(level: .tcp, name: NIOBSDSocket.Option(rawValue: TCP_USER_TIMEOUT)), 6_000)]
    }

    static var options: [(ChannelOptions.Types.SocketOption, Int)] {
        [
            (Option(level: .socket, name: .so_keepalive), 1),
            // Seconds until the first probe, and between probes, and how many go unanswered.
            (Option(level: .tcp, name: NIOBSDSocket.Option(rawValue: TCP_KEEPIDLE)), 3),
            (Option(level: .tcp, name: NIOBSDSocket.Option(rawValue: TCP_KEEPINTVL)), 1),
            (Option(level: .tcp, name: NIOBSDSocket.Option(rawValue: TCP_KEEPCNT)), 3),
        ]
    }
}
