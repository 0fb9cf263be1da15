import CCrypto

/// OpenSSL's reasons in our words.
extension TLSSession {
    /// The reason codes from here on are alerts that the peer has sent (SSL_AD_REASON_OFFSET).
    private static let alertReasons: Int32 = 1000

    /// What the last call on this thread failed for.
    func libraryFailure() -> TLSError {
        // The first error is the cause, those after it what followed from it.
        let first = ERR_peek_error()
        let reason = ERR_GET_REASON(first)
        let text = OpenSSL.takeErrors()
        if let refusal { return refusal }
        guard ERR_GET_LIB(first) == ERR_LIB_SSL else { return failure(.protocolViolation, text) }
        if reason > Self.alertReasons, reason < Self.alertReasons + 256 { return alert(reason - Self.alertReasons) }
        switch reason {
        case SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_UNSUPPORTED_SSL_VERSION, SSL_R_VERSION_TOO_LOW, SSL_R_BAD_PROTOCOL_VERSION_NUMBER:
            return failure(.protocolVersion, "the other side speaks no TLS 1.3 (\(text))")
        case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
            return failure(.noCertificate, "the client has shown no certificate")
        case SSL_R_UNEXPECTED_EOF_WHILE_READING:
            return failure(.truncated, text)
        case SSL_R_NO_CERTIFICATE_SET, SSL_R_NO_SHARED_CIPHER, SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
            return failure(.library, "the two sides have no way in common, or this side no certificate (\(text))")
        default:
            return failure(.protocolViolation, text)
        }
    }

    /// The peer ended the connection with an alert (RFC 8446 section 6.2).
    private func alert(_ number: Int32) -> TLSError {
        let name = "alert \(number), \(String(cString: SSL_alert_desc_string_long(number)))"
        switch number {
        case SSL_AD_CERTIFICATE_REVOKED:
            return failure(.refusedByPeer, "the other side refuses this node: it was removed from the cluster, or is barred (\(name))")
        case SSL_AD_CERTIFICATE_EXPIRED:
            return failure(.refusedByPeer, "the other side finds that our certificate has ended (\(name)); its clock says so, or ours is behind")
        case SSL_AD_UNKNOWN_CA:
            return failure(.refusedByPeer, "the other side does not trust the authority of our certificate (\(name))")
        case SSL_AD_CERTIFICATE_REQUIRED:
            return failure(.refusedByPeer, "the other side wants a certificate and we have none to show (\(name))")
        case SSL_AD_BAD_CERTIFICATE, SSL_AD_UNSUPPORTED_CERTIFICATE, SSL_AD_CERTIFICATE_UNKNOWN, SSL_AD_ACCESS_DENIED,
            SSL_AD_NO_CERTIFICATE_RESERVED:
            return failure(.refusedByPeer, "the other side does not accept our certificate (\(name))")
        case SSL_AD_PROTOCOL_VERSION:
            return failure(.protocolVersion, "the other side speaks no TLS 1.3 (\(name))")
        default:
            return failure(.protocolViolation, "the other side ended the connection (\(name))")
        }
    }
}

/// From ssl3.h: 41, which TLS 1.3 does not send any more.
private let SSL_AD_NO_CERTIFICATE_RESERVED: Int32 = 41
