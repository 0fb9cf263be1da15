import CCrypto

/// Is the peer who it must be? Called by OpenSSL within the handshake, with the peer's chain.
extension TLSSession {
    /// Besides its answer it leaves `peer` or `refusal`, and in the store the error that OpenSSL makes the alert of.
    func judge(_ store: OpaquePointer?) -> Bool {
        guard let store, let leaf = X509_STORE_CTX_get0_cert(store) else { return false }
        let now = context.now()
        X509_VERIFY_PARAM_set_time(X509_STORE_CTX_get0_param(store), time_t(now))
        guard let certificate = try? Certificate(leaf) else {
            return refuse(store, X509_V_ERR_CERT_REJECTED, .badCertificate, "the peer's certificate cannot be read")
        }
        hasPeerCertificate = true

        switch context.trust {
        case .pinned(let fingerprint):
            guard let authority = pinnedAuthority(store, fingerprint) else {
                let shown = certificate.issuerName.isEmpty ? "an authority without a name" : "authority \"\(certificate.issuerName)\""
                return refuse(
                    store, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, .fingerprintMismatch,
                    "the server is of \(shown), which is not the one with the fingerprint \(Digest.hexadecimal(fingerprint))")
            }
            // The list must live as long as the verification, which does not own it.
            let list = ccrypto_make_list(authority)
            defer { ccrypto_free_list(list) }
            X509_STORE_CTX_set0_trusted_stack(store, list)
            X509_VERIFY_PARAM_set_flags(X509_STORE_CTX_get0_param(store), UInt(X509_V_FLAG_CHECK_SS_SIGNATURE))
            guard verifyChain(store, certificate, now) else { return false }
        case .cluster, .serverName:
            guard verifyChain(store, certificate, now) else { return false }
        }
        return judgeName(store, certificate)
    }

    private func judgeName(_ store: OpaquePointer, _ certificate: Certificate) -> Bool {
        if case .serverName = context.trust { return true }  // OpenSSL has compared the name
        guard let identity = certificate.identity else {
            return refuse(
                store, X509_V_ERR_CERT_REJECTED, .badCertificate, "the peer's certificate (\"\(certificate.commonName)\") names no node")
        }
        if case .cluster(let cluster, _) = context.trust, identity.cluster != cluster {
            return refuse(
                store, X509_V_ERR_CERT_REJECTED, .wrongCluster,
                "the peer is node \(identity.node) of the cluster \(identity.cluster), not of \(cluster)")
        }
        if let reason = context.refusal(identity) {
            return refuse(store, X509_V_ERR_CERT_REVOKED, .removed, "\(identity) is refused: \(reason)")
        }
        peer = identity
        return true
    }

    /// The certificate in the peer's chain, after its own, whose key has the fingerprint.
    private func pinnedAuthority(_ store: OpaquePointer, _ fingerprint: [UInt8]) -> OpaquePointer? {
        let chain = X509_STORE_CTX_get0_untrusted(store)
        for index in stride(from: 1, to: min(ccrypto_chain_count(chain), 10), by: 1) {
            guard let candidate = ccrypto_chain_at(chain, index), X509_check_ca(candidate) == 1,
                let publicKey = try? PublicKey(ofCertificate: candidate, "read an authority's key")
            else { continue }
            if publicKey.fingerprint == fingerprint { return candidate }
        }
        ERR_clear_error()
        return nil
    }

    private func verifyChain(_ store: OpaquePointer, _ certificate: Certificate, _ now: Int64) -> Bool {
        if X509_verify_cert(store) == 1 { return true }
        let error = X509_STORE_CTX_get_error(store)
        let who = "the certificate of \"\(certificate.commonName)\""
        let clock = "this host's clock says \(CertificateTime.text(now))"
        // The dates that are wrong may be the authority's.
        let wrong = (X509_STORE_CTX_get_current_cert(store).flatMap { try? Certificate($0) }) ?? certificate
        switch error {
        case X509_V_ERR_CERT_HAS_EXPIRED:
            refusal = failure(
                .expired, "\(who) was valid until \(CertificateTime.text(wrong.notAfter)); \(clock), "
                    + "\(CertificateTime.duration(max(0, now - wrong.notAfter))) later")
        case X509_V_ERR_CERT_NOT_YET_VALID:
            refusal = failure(
                .notYetValid, "\(who) is valid from \(CertificateTime.text(wrong.notBefore)); \(clock), "
                    + "\(CertificateTime.duration(max(0, wrong.notBefore - now))) earlier: by at least that much the clocks of the two hosts differ")
        case X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH:
            refusal = failure(.wrongName, "\(who) is not for the name that the server was called by")
        case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT,
            X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE,
            X509_V_ERR_CERT_SIGNATURE_FAILURE, X509_V_ERR_CERT_UNTRUSTED:
            let claim = certificate.identity.map { ", which claims to be \($0)," } ?? ""
            refusal = failure(
                .unknownAuthority, "\(who)\(claim) is of the authority \"\(certificate.issuerName)\", which is not trusted here")
        default:
            refusal = failure(.badCertificate, "\(who) is refused: \(String(cString: X509_verify_cert_error_string(Int(error))))")
        }
        if error == X509_V_OK { X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED) }
        ERR_clear_error()
        return false
    }

    private func refuse(_ store: OpaquePointer, _ error: Int32, _ code: TLSError.Code, _ cause: String) -> Bool {
        X509_STORE_CTX_set_error(store, error)
        refusal = failure(code, cause)
        return false
    }
}
