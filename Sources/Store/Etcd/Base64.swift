/// Base64 with padding (RFC 4648 section 4), as etcd's gateway writes keys and values. A list of thousands of entries is mostly
/// this, so it goes over plain buffers.
enum Base64 {
    private static let digits: [UInt8] = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    /// The value of each digit, 0xFF for what is none.
    private static let values: [UInt8] = {
        var values = [UInt8](repeating: 0xFF, count: 256)
        for (value, digit) in digits.enumerated() { values[Int(digit)] = UInt8(value) }
        return values
    }()

    static func encode(_ bytes: some Collection<UInt8>, to text: inout [UInt8]) {
        text.reserveCapacity(text.count + (bytes.count + 2) / 3 * 4)
        digits.withUnsafeBufferPointer { digits in
            var group: UInt32 = 0
            var held = 0
            for byte in bytes {
                group = group << 8 | UInt32(byte)
                held += 1
                guard held == 3 else { continue }
                for shift in [18, 12, 6, 0] as [UInt32] { text.append(digits[Int(group >> shift & 63)]) }
                (group, held) = (0, 0)
            }
            guard held > 0 else { return }
            group <<= held == 1 ? 16 : 8
            text.append(digits[Int(group >> 18 & 63)])
            text.append(digits[Int(group >> 12 & 63)])
            text.append(held == 1 ? UInt8(ascii: "=") : digits[Int(group >> 6 & 63)])
            text.append(UInt8(ascii: "="))
        }
    }

    /// Nil for what is not whole groups of digits with padding at the end only.
    static func decode(_ text: UnsafeBufferPointer<UInt8>) -> [UInt8]? {
        guard text.count % 4 == 0 else { return nil }
        guard !text.isEmpty else { return [] }
        let padding = text[text.count - 1] != UInt8(ascii: "=") ? 0 : text[text.count - 2] != UInt8(ascii: "=") ? 1 : 2
        let length = text.count / 4 * 3 - padding
        var isValid = true
        let bytes = values.withUnsafeBufferPointer { values in
            [UInt8](unsafeUninitializedCapacity: length) { bytes, count in
                var source = 0
                while source < text.count {
                    var group: UInt32 = 0
                    for offset in source..<source + 4 {
                        var value = values[Int(text[offset])]
                        if value == 0xFF {
                            isValid = isValid && offset >= text.count - padding
                            value = 0
                        }
                        group = group << 6 | UInt32(value)
                    }
                    source += 4
                    for shift in [16, 8, 0] as [UInt32] where count < length {
                        bytes[count] = UInt8(truncatingIfNeeded: group >> shift)
                        count += 1
                    }
                }
            }
        }
        return isValid ? bytes : nil
    }
}
