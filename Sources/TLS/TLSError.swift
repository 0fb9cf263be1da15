/// Why a connection is not secure, or a key or certificate not usable.
package struct TLSError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What kind of failure; more may be added, so a switch over it needs a default.
    package struct Code: Hashable, Sendable, CustomStringConvertible {
        package let description: String
        let remedy: String

        package static func == (left: Code, right: Code) -> Bool { left.description == right.description }
        package func hash(into hasher: inout Hasher) { hasher.combine(description) }

        // MARK: The peer's certificate

        /// The peer's certificate is of an authority that this node does not trust: it belongs to another cluster, or somebody is between. Check
        /// the address; join again with a new token if the cluster was made anew.
        package static let unknownAuthority = Code(
            "unknownAuthority", "check the address; if the cluster was made anew, join it again with a new token")
        /// The server's authority is not the one that the token names. Check address and token; if both are right, somebody is between.
        package static let fingerprintMismatch = Code(
            "fingerprintMismatch", "check the address, and take a new token from that cluster: somebody may be between")
        /// The peer's certificate has ended. Set both clocks; if they are right, the peer was away for too long and must join again.
        package static let expired = Code("expired", "set the clocks of both hosts; if they are right, join the peer again with a new token")
        /// The peer's certificate begins later: one of the clocks is wrong. Set them.
        package static let notYetValid = Code("notYetValid", "set the clocks of both hosts (NTP)")
        /// The certificate is good but of another cluster. Correct the address.
        package static let wrongCluster = Code("wrongCluster", "correct the address: it is of another cluster")
        /// The node was removed from the cluster, or is refused for another reason that the cause names. Join it again with a new token.
        package static let removed = Code("removed", "join the node again with a new token, or take it out of service")
        /// The server's certificate is for another name. Use the name in its certificate, or give it one with this name.
        package static let wrongName = Code("wrongName", "use a name that is in the server's certificate")
        /// The client has shown no certificate. It must join first.
        package static let noCertificate = Code("noCertificate", "join the node first")
        /// The peer's certificate may not be used like this: wrong purpose, no node's name. Give it another.
        package static let badCertificate = Code("badCertificate", "give the peer a certificate that the cluster's authority issued")

        // MARK: The connection

        /// The other side does not speak TLS. Check the address, and the version of the other side.
        package static let noTLS = Code("noTLS", "check the address; an agent of an old version speaks no TLS: upgrade it")
        /// The peer does not accept our certificate. Its log says why.
        package static let refusedByPeer = Code("refusedByPeer", "read the other side's log; set both clocks, or join again with a new token")
        /// The two sides have no version of TLS in common: this side speaks 1.3 only. Upgrade the other.
        package static let protocolVersion = Code("protocolVersion", "upgrade the other side: it must speak TLS 1.3")
        /// The handshake took too long. The other side is overloaded or cut off, or is no TLS service.
        package static let timedOut = Code("timedOut", "check the address and the network, and look at the other side's log")
        /// The connection ended without TLS's own end: what was received may not be all.
        package static let truncated = Code("truncated", "try again; if it persists look at the log of the other side")
        /// The connection ended within the handshake. The other side was stopped, or speaks no TLS.
        package static let closed = Code("closed", "try again; if it persists check that the address is a TLS service")
        /// The peer's bytes are not TLS as it was agreed on: damaged on the way, or an attack.
        package static let protocolViolation = Code("protocolViolation", "try again; if it persists the network damages packets")

        // MARK: Our side

        /// A text is no key, certificate or request. Correct the file.
        package static let malformed = Code("malformed", "check that it is the right file, in PEM form and whole")
        /// Key and certificate do not belong together. Take both from the same place.
        package static let keyMismatch = Code("keyMismatch", "take the key that belongs to the certificate")
        /// A name or a length of time cannot be in a certificate. Correct it.
        package static let badName = Code("badName", "correct the name")
        /// More was written than may wait for the end of the handshake. A bug: wait for the handshake.
        package static let tooEarly = Code("tooEarly", "report this as a bug")
        /// OpenSSL refuses, for lack of memory or by its configuration; the cause says more.
        package static let library = Code("library", "check the system's OpenSSL and its configuration (openssl.cnf)")

        init(_ name: String, _ remedy: String) {
            self.description = name
            self.remedy = remedy
        }
    }

    package var code: Code
    /// What was tried, such as "accept a connection".
    package var operation: String
    package var cause: String

    package init(_ code: Code, _ operation: String, cause: String) {
        self.code = code
        self.operation = operation
        self.cause = cause
    }

    package var remedy: String { code.remedy }
    package var description: String { "\(operation): \(cause); \(remedy)" }
}
