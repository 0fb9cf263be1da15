/// An error that etcd answered: gRPC's code and etcd's text (api/v3rpc/rpctypes/error.go), and what follows from it.
///
///     {"error":TEXT,"message":TEXT,"code":5}                          3.4, 3.5
///     {"code":5,"message":TEXT,"details":[]}                          3.6
///     {"error":{"grpc_code":5,"http_code":404,"message":TEXT}}        in a stream
struct EtcdFailure: Error {
    var status: Int
    var code: UInt64 = 2
    var message = ""

    init(status: Int, body: [UInt8]) {
        self.status = status
        // What cannot be read is told as it is.
        try? EtcdJSON.read(body) { json in try json.object { try read(&$0, $1) } }
        if message.isEmpty {
            let text = String(decoding: body.prefix(200), as: UTF8.self).split(whereSeparator: \.isNewline).first ?? ""
            message = "HTTP status \(status)" + (text.isEmpty ? "" : ": \(text)")
        }
    }

    init(message: String) {
        status = 200
        self.message = message
    }

    /// The value of a field `error` in a stream.
    init(error json: inout EtcdJSON, status: Int) throws {
        self.status = status
        try readError(&json)
    }

    private mutating func read(_ json: inout EtcdJSON, _ name: String) throws {
        switch name {
        case "code", "grpc_code": code = try json.number()
        case "message": message = try json.string()
        case "error": try readError(&json)
        default: try json.skip()
        }
    }

    private mutating func readError(_ json: inout EtcdJSON) throws {
        if json.isString {
            let text = try json.string()
            if message.isEmpty { message = text }
        } else {
            try json.object { try read(&$0, $1) }
        }
    }

    private func says(_ texts: String...) -> Bool { texts.contains { message.contains($0) } }

    // MARK: What follows

    /// The token ended, or the member has forgotten it: authenticate again.
    var isStaleToken: Bool {
        says("invalid auth token", "revision of auth store is old") || (code == 16 && !says("permission denied", "invalid user"))
    }

    var isCompacted: Bool { says("required revision has been compacted") }
    var isFuture: Bool { says("required revision is a future revision") }
    var isTooLargeToRead: Bool { says("received message larger than max", "message length too large") }

    /// This member cannot serve now, another may.
    var isMembersFault: Bool {
        code == 14 || code == 4 || [502, 503, 504].contains(status) || isRefusedUntouched
            || says("leader changed", "proposal dropped", "server stopped")
    }

    /// Nothing was done, and nothing will be.
    var isRefusedUntouched: Bool { says("no leader", "not capable", "too many requests", "learner") || isStaleToken }

    /// - Parameter user: who asks, for the remedy.
    func error(_ operation: String, user: String?) -> StoreError {
        func error(_ code: StoreError.Code, _ remedy: String? = nil) -> StoreError {
            StoreError(code, operation, cause: "etcd answered: \(message)", remedy: remedy)
        }
        let who = user.map { "user '\($0)'" } ?? "a user"
        if says("requested lease not found") { return error(.leaseNotFound) }
        if says("database space exceeded") {
            return error(
                .full,
                "Compact and defragment etcd, then clear its alarm: etcdctl compact REVISION; etcdctl defrag --cluster; "
                    + "etcdctl alarm disarm.")
        }
        if says("too many operations in txn") {
            return error(.invalid, "Start every member of etcd with --max-txn-ops=1024 (or more).")
        }
        if says("request is too large") || isTooLargeToRead {
            return error(.invalid, "Start every member of etcd with --max-request-bytes=8388608 (or more).")
        }
        if says("user name is empty", "user name not found") {
            return error(.permission, "This etcd wants a user: give one with a role for the prefix, as etcd://USER:PASSWORD@HOST:2379.")
        }
        if says("authentication failed", "invalid user ID or password") {
            return error(.permission, "Correct user and password of etcd's \(who), or set them: etcdctl user passwd.")
        }
        if says("CommonName of client") {
            return error(
                .permission,
                "Give a certificate without a CommonName with --store-cert: etcd with users takes no user's name from it where JSON is spoken, and refuses it.")
        }
        if says("permission denied") || code == 7 {
            guard user != nil else {
                return error(.permission, "Give a user with a role for the prefix, as etcd://USER:PASSWORD@HOST:2379.")
            }
            return error(
                .permission,
                "Give \(who) a role of etcd's with the right to read and write the prefix: "
                    + "etcdctl role grant-permission ROLE --prefix=true readwrite PREFIX.")
        }
        if isStaleToken {
            return error(.permission, "Check user and password, and that all members of etcd use the same --auth-token.")
        }
        if says("too many requests") || code == 8 {
            return error(.overloaded, "Try again in a moment; if it repeats, etcd's disk may be too slow.")
        }
        if isMembersFault {
            let remedy =
                "Check etcd's members (etcdctl endpoint status --cluster); whether it was done is unknown until the store is read again."
            return error(code == 4 || says("timed out", "deadline exceeded") ? .timedOut : .unreachable, remedy)
        }
        if status == 404 && code != 5 || status == 405 {
            return error(.badAnswer, "Check that the address is a client address of etcd 3.4 or later, with its gRPC gateway enabled.")
        }
        return error(.badAnswer, "See the log of etcd's member, and compare its version with what this one knows (3.4 to 3.6).")
    }
}
