#include "CLinux.h"

#include <netpacket/packet.h>
#include <sys/socket.h>
#include <errno.h>
#include <linux/nsfs.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

int linux_setns(int descriptor, int kind) { return setns(descriptor, kind); }
int linux_unshare(int flags) { return unshare(flags); }

int linux_is_network_namespace(int descriptor) {
    int kind = ioctl(descriptor, NS_GET_NSTYPE);
    if (kind >= 0) return kind == CLONE_NEWNET;
    return errno == ENOTTY || errno == EINVAL ? 0 : -1;
}

int linux_bind_mount(const char *source, const char *target, unsigned long flags) {
    return mount(source, target, "none", MS_BIND | flags, NULL);
}
int linux_share_mount(const char *target, unsigned long flags) { return mount("", target, "none", MS_SHARED | flags, NULL); }
int linux_detach_mount(const char *target) { return umount2(target, MNT_DETACH | UMOUNT_NOFOLLOW); }

const char *linux_errno_name(int number) {
    const char *name = strerrorname_np(number);
    return name ? name : "errno";
}

int linux_name_thread(const char *name) { return pthread_setname_np(pthread_self(), name); }

int linux_frame_socket(void) { return socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); }
long linux_send_frame(int socket, int index, const void *frame, unsigned long size) {
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = index};
    return sendto(socket, frame, size, MSG_DONTWAIT, (struct sockaddr *)&to, sizeof to);
}

int linux_epoll_create(void) { return epoll_create1(EPOLL_CLOEXEC); }
int linux_epoll_add(int epoll, int descriptor, uint64_t key) {
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = key};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event);
}
int linux_epoll_remove(int epoll, int descriptor) {
    struct epoll_event event = {0};
    return epoll_ctl(epoll, EPOLL_CTL_DEL, descriptor, &event);
}
int linux_epoll_wait(int epoll, uint64_t *keys, int capacity, int timeout) {
    struct epoll_event events[64];
    int count = epoll_wait(epoll, events, capacity < 64 ? capacity : 64, timeout);
    for (int i = 0; i < count; i++) keys[i] = events[i].data.u64;
    return count;
}
int linux_eventfd(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }
