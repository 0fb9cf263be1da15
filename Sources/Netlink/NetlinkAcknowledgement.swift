/// The kernel's answer to a request (NLMSG_ERROR, also when it is a success) and the end of a dump (NLMSG_DONE): an error
/// number and, with NETLINK_EXT_ACK, a text that says what was wrong.
///
///     NLMSG_ERROR: | -errno (4) | nlmsghdr of the request (16) | its payload, unless NLM_F_CAPPED | attributes, if NLM_F_ACK_TLVS |
///     NLMSG_DONE:  | -errno (4) | attributes, if NLM_F_ACK_TLVS |
///
/// Source: linux/netlink.h (struct nlmsgerr, enum nlmsgerr_attrs), Documentation/userspace-api/netlink/intro.rst.
import CLinux

package struct NetlinkAcknowledgement: Hashable, Sendable {
    /// 0 is success.
    package var errno: Int32
    package var text: String?
    /// The type of the attribute that the kernel missed in the request.
    package var missingAttribute: UInt32?

    package init(errno: Int32, text: String? = nil, missingAttribute: UInt32? = nil) {
        self.errno = errno
        self.text = text
        self.missingAttribute = missingAttribute
    }

    package init(_ message: NetlinkMessage) throws(NetlinkError) {
        guard message.type == NLMSG_ERROR || message.type == NLMSG_DONE else {
            throw NetlinkError(.wrongKind, "message \(message.type) is no acknowledgement")
        }
        // An NLMSG_DONE of an old kernel or of another dump may carry nothing at all.
        guard message.payload.count >= 4 || message.type == NLMSG_ERROR else {
            self.init(errno: 0)
            return
        }
        let negative: Int32 = try message.header()
        var offset = 4
        if message.type == NLMSG_ERROR {
            let request = try message.header(nlmsgerr.self).msg
            let capped = message.flags & Int(NLM_F_CAPPED) != 0
            offset += capped ? MemoryLayout<nlmsghdr>.size : NetlinkAlignment.up(Int(request.nlmsg_len))
        }
        self.init(errno: negative == .min ? .max : abs(negative))
        guard message.flags & Int(NLM_F_ACK_TLVS) != 0, offset <= message.payload.count else { return }
        let attributes = NetlinkAttributes(UnsafeRawBufferPointer(rebasing: message.payload[offset...]))
        text = attributes[NLMSGERR_ATTR_MSG.rawValue]?.string
        missingAttribute = try attributes[Self.missingType]?.value(UInt32.self)
    }

    /// NLMSGERR_ATTR_MISS_TYPE, since Linux 6.1; Debian 12's headers have it, older ones do not.
    private static let missingType = 5
}
