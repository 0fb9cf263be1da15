/// What a server grants each connection. Durations are of the monotonic clock.
package struct HTTPLimits: Sendable {
    /// Largest body of a request, in bytes; beyond it the answer is 413.
    package var bodyBytes = 16 << 20
    /// Bytes of all bodies together that are being received or answered, beyond the first 8 KiB of each; when they are used up the answer is 503.
    package var allBodiesBytes = 64 << 20
    /// Largest head of a request (all fields together; a single field or the target too), in bytes; beyond it 431.
    package var headerBytes = 64 << 10
    /// How long a connection may stay open without a request.
    package var idle: Duration = .seconds(300)
    /// How long a client may take to send one request, and to take each piece of its answer.
    package var request: Duration = .seconds(30)
    /// How long `stop` lets running requests finish.
    package var drain: Duration = .milliseconds(500)
    /// Connections beyond this are closed at once.
    package var connections = 2048
    /// Of a server with TLS, within `connections`: those whose client has not shown a certificate (yet). Beyond this the oldest of them is closed, so
    /// that a flood of connections that do nothing leaves room for members.
    package var strangers = 256
    /// Largest body of one of those, over TLS.
    package var strangerBodyBytes = 64 << 10
    /// Of one without TLS that has not proved itself by an earlier request.
    package var plainBodyBytes = 1 << 20
    /// The mode of a unix socket's file.
    package var socketMode: UInt32 = 0o660

    package init() {}
}
