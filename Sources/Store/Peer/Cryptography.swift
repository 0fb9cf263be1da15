import CCrypto

/// The few functions of the system's libcrypto that authentication needs. HMAC: RFC 2104. (`TLS` has SHA-256.)
enum Cryptography {
    static func hmac(key: [UInt8], _ bytes: [UInt8]) throws(StoreError) -> [UInt8] {
        var code = [UInt8](repeating: 0, count: Int(SHA256_DIGEST_LENGTH))
        guard HMAC(EVP_sha256(), key, Int32(key.count), bytes, bytes.count, &code, nil) != nil else {
            throw StoreError(.noCryptography, "authenticate a request", cause: "libcrypto refuses HMAC-SHA-256")
        }
        return code
    }

    /// Compares without telling by its duration where the difference is.
    static func areEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool {
        left.count == right.count && CRYPTO_memcmp(left, right, left.count) == 0
    }

    /// From the kernel's generator, getrandom(2).
    static func random(_ count: Int) -> [UInt8] {
        var generator = SystemRandomNumberGenerator()
        return (0..<count).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
    }
}

/// The bytes of `Digest.hexadecimal`'s text; nil if it is anything else.
func bytes(hexadecimal text: some StringProtocol) -> [UInt8]? {
    let digits = Array(text.utf8)
    guard digits.count.isMultiple(of: 2) else { return nil }
    func value(_ digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): return digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): return digit - UInt8(ascii: "a") + 10
        default: return nil
        }
    }
    var bytes: [UInt8] = []
    for index in stride(from: 0, to: digits.count, by: 2) {
        guard let high = value(digits[index]), let low = value(digits[index + 1]) else { return nil }
        bytes.append(high << 4 | low)
    }
    return bytes
}
