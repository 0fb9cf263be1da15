import CCrypto

/// Seconds since 1970, as certificates are compared with. The caller passes the time; nothing here reads a clock.
enum CertificateTime {
    /// The year 9999: GeneralizedTime has four digits (RFC 5280 section 4.1.2.5.2).
    static let latest: Int64 = 253_402_300_799

    static func seconds(_ time: UnsafePointer<ASN1_TIME>?, _ operation: String) throws(TLSError) -> Int64 {
        let epoch = try Owned(ASN1_TIME_set(nil, 0), operation) { ASN1_TIME_free($0) }
        var days: Int32 = 0
        var seconds: Int32 = 0
        guard let time, ASN1_TIME_diff(&days, &seconds, epoch.pointer, time) == 1 else {
            throw TLSError(.malformed, operation, cause: "a date in the certificate is malformed")
        }
        return Int64(days) * 86_400 + Int64(seconds)
    }

    /// "2026-11-21T16:16:00Z" (RFC 3339). The date of a day number: years are counted from March, so that the leap day is the last.
    static func text(_ seconds: Int64) -> String {
        let days = seconds.floorDivided(by: 86_400)
        let rest = seconds - days * 86_400
        let shifted = days + 719_468  // since 0000-03-01
        let era = shifted.floorDivided(by: 146_097)  // of 400 years
        let day = shifted - era * 146_097
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365
        let dayOfYear = day - (365 * year + year / 4 - year / 100)
        let month = (5 * dayOfYear + 2) / 153
        func two(_ value: Int64) -> String { value < 10 ? "0\(value)" : "\(value)" }
        let calendarMonth = month < 10 ? month + 3 : month - 9
        let calendarYear = year + era * 400 + (calendarMonth <= 2 ? 1 : 0)
        let date = "\(calendarYear)-\(two(calendarMonth))-\(two(dayOfYear - (153 * month + 2) / 5 + 1))"
        return "\(date)T\(two(rest / 3600)):\(two(rest / 60 % 60)):\(two(rest % 60))Z"
    }

    /// "3 days", "2 hours", "5 minutes", "1 second": the largest unit that is at least one.
    static func duration(_ seconds: Int64) -> String {
        for (unit, name) in [(86_400, "day"), (3600, "hour"), (60, "minute")] as [(Int64, String)] where seconds >= unit {
            return seconds / unit == 1 ? "1 \(name)" : "\(seconds / unit) \(name)s"
        }
        return seconds == 1 ? "1 second" : "\(seconds) seconds"
    }
}

extension Int64 {
    fileprivate func floorDivided(by divisor: Int64) -> Int64 {
        let (quotient, remainder) = quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? quotient - 1 : quotient
    }
}
