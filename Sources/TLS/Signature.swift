/// Signatures by nodes' keys: ECDSA with SHA-256 (FIPS 186-5), in DER (RFC 3279 section 2.2.3).
import CCrypto

extension PrivateKey {
    package func signature(of text: String) throws(TLSError) -> [UInt8] {
        let operation = "sign"
        let context = try Owned(EVP_MD_CTX_new(), operation) { EVP_MD_CTX_free($0) }
        let bytes = Array(text.utf8)
        try OpenSSL.check(EVP_DigestSignInit(context.pointer, nil, EVP_sha256(), nil, pointer), operation)
        var count = 0
        try OpenSSL.check(EVP_DigestSign(context.pointer, nil, &count, bytes, bytes.count), operation)
        var signature = [UInt8](repeating: 0, count: count)
        try OpenSSL.check(EVP_DigestSign(context.pointer, &signature, &count, bytes, bytes.count), operation)
        return Array(signature.prefix(count))
    }
}

extension PublicKey {
    /// Whether the key's owner signed that text.
    package func verifies(_ signature: [UInt8], of text: String) -> Bool {
        defer { ERR_clear_error() }
        let operation = "verify a signature"
        let bytes = Array(text.utf8)
        let result = try? withKey(operation) { key throws(TLSError) in
            let context = try Owned(EVP_MD_CTX_new(), operation) { EVP_MD_CTX_free($0) }
            try OpenSSL.check(EVP_DigestVerifyInit(context.pointer, nil, EVP_sha256(), nil, key), operation)
            return EVP_DigestVerify(context.pointer, signature, signature.count, bytes, bytes.count) == 1
        }
        return result ?? false
    }
}
