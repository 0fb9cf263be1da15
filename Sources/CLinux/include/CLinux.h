// What Swift's Glibc module lacks: the kernel's own structures and constants, and the Linux system calls that glibc hides
// behind _GNU_SOURCE. The wrappers do nothing but call; they return what the call returns and leave errno as it set it.
#ifndef CLINUX_H
#define CLINUX_H

// No header of glibc's is included here: its declarations would then belong to two modules, Glibc and this, and which of the two
// Swift takes them from depends on the order of imports ("cannot find 'SOCK_DGRAM' in scope", now and then).
#include <stdint.h>

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/net_namespace.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>

#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

// From linux/if_bridge.h, which needs glibc's in6_addr, and of which distributions' copies are older than VXLAN's part of it (Linux 6.4).
enum { LINUX_MDBA_MDB = 1, LINUX_MDBA_MDB_ENTRY = 1, LINUX_MDBA_MDB_ENTRY_INFO = 1, LINUX_MDBA_MDB_EATTR_SOURCE = 4, LINUX_MDBA_MDB_EATTR_DST = 6 };
enum { LINUX_MDBA_SET_ENTRY = 1, LINUX_MDBA_SET_ENTRY_ATTRS = 2, LINUX_MDBE_ATTR_DST = 5, LINUX_MDB_PERMANENT = 1, LINUX_MDB_RTR_TYPE_PERM = 2 };
// struct br_port_msg
struct linux_port_message {
    uint32_t family; // a byte; the padding behind it must be zero
    uint32_t index;
};
// struct br_mdb_entry; the address is 4, 16 or 6 bytes from its beginning.
struct linux_group_entry {
    uint32_t index;
    uint8_t state, flags;
    uint16_t vlan;
    uint64_t high, low;
    uint16_t protocol;
    uint16_t pad;
} __attribute__((packed));

// From linux/netfilter.h, which needs glibc's in_addr.
enum { NF_DROP = 0, NF_ACCEPT = 1, NFPROTO_INET = 1, NFPROTO_BRIDGE = 7, NFPROTO_IPV4 = 2, NFPROTO_IPV6 = 10 };
enum nf_inet_hooks {
    NF_INET_PRE_ROUTING,
    NF_INET_LOCAL_IN,
    NF_INET_FORWARD,
    NF_INET_LOCAL_OUT,
    NF_INET_POST_ROUTING,
};

// Namespaces (setns(2), unshare(2), ioctl_ns(2)).
enum { LINUX_CLONE_NEWNET = 0x40000000, LINUX_CLONE_NEWNS = 0x00020000 };
int linux_setns(int descriptor, int kind);
int linux_unshare(int flags);
// 1 when the descriptor is a network namespace, 0 when it is something else, -1 with errno.
int linux_is_network_namespace(int descriptor);

// Mounts (mount(2)); the flags are an enum and macros at once in glibc and do not import.
enum {
    LINUX_MS_BIND = 4096,
    LINUX_MS_REC = 16384,
    LINUX_MS_SHARED = 1 << 20,
};
int linux_bind_mount(const char *source, const char *target, unsigned long flags);
int linux_share_mount(const char *target, unsigned long flags);
int linux_detach_mount(const char *target);

// The symbol of an errno ("EEXIST"), or "errno" when glibc knows none.
const char *linux_errno_name(int number);

// Threads.
int linux_name_thread(const char *name);

// Frames (packet(7)): a socket that receives none, and the sending of one, as it is, out of the link with that index.
int linux_frame_socket(void);
long linux_send_frame(int socket, int index, const void *frame, unsigned long size);

// Waiting (epoll(7), eventfd(2)). Level-triggered and readable is all that is needed; `key` comes back with the event.
int linux_epoll_create(void);
int linux_epoll_add(int epoll, int descriptor, uint64_t key);
int linux_epoll_remove(int epoll, int descriptor);
// Fills up to `capacity` keys; timeout in milliseconds, -1 for ever.
int linux_epoll_wait(int epoll, uint64_t *keys, int capacity, int timeout);
int linux_eventfd(void);

#endif
