/* veth: the loopback, and a cable to the host for those who may go out.
 *
 * Raw rtnetlink: a pair of virtual interfaces costs half a millisecond this way, and ten by running ip(8).
 * The container's end is eth0 with a default route; the host's end gets its own address of the same /30. The
 * daemon's table of rules does the rest. */
#include "init.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

int loopback_up(void) {
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    int result = ioctl(fd, SIOCSIFFLAGS, &request);
    close(fd);
    return result;
}

struct request {
    struct nlmsghdr head;
    char body[1024 - sizeof(struct nlmsghdr)];
};

static void *end_of(struct request *request) {
    return (char *)request + NLMSG_ALIGN(request->head.nlmsg_len);
}

static void *add_head(struct request *request, size_t size) {
    void *at = end_of(request);
    memset(at, 0, size);
    request->head.nlmsg_len = (uint32_t)(NLMSG_ALIGN(request->head.nlmsg_len) + size);
    return at;
}

static struct rtattr *add(struct request *request, unsigned short type, const void *data, size_t size) {
    struct rtattr *attribute = end_of(request);
    attribute->rta_type = type;
    attribute->rta_len = (unsigned short)RTA_LENGTH(size);
    if (size > 0) memcpy(RTA_DATA(attribute), data, size);
    request->head.nlmsg_len =
        (uint32_t)(NLMSG_ALIGN(request->head.nlmsg_len) + RTA_ALIGN(attribute->rta_len));
    return attribute;
}

static void end(struct request *request, struct rtattr *nest) {
    nest->rta_len = (unsigned short)((char *)end_of(request) - (char *)nest);
}

static void begin(struct request *request, uint16_t type, uint16_t flags) {
    request->head = (struct nlmsghdr){.nlmsg_len = NLMSG_HDRLEN,
                                      .nlmsg_type = type,
                                      .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags)};
}

static int carry(int fd, struct request *request) {
    _Alignas(struct nlmsghdr) char answer[1024];
    if (send(fd, request, request->head.nlmsg_len, 0) < 0) return -1;
    if (recv(fd, answer, sizeof answer, 0) < (ssize_t)NLMSG_LENGTH(sizeof(struct nlmsgerr))) return -1;
    const struct nlmsgerr *result = NLMSG_DATA((struct nlmsghdr *)answer);
    if (result->error == 0) return 0;
    errno = -result->error;
    return -1;
}

static int make_pair(int fd, const struct veth *veth) {
    struct request request;
    begin(&request, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    add_head(&request, sizeof(struct ifinfomsg));
    add(&request, IFLA_IFNAME, "eth0", 5);
    struct rtattr *info = add(&request, IFLA_LINKINFO, NULL, 0);
    add(&request, IFLA_INFO_KIND, "veth", 4);
    struct rtattr *data = add(&request, IFLA_INFO_DATA, NULL, 0);
    struct rtattr *peer = add(&request, VETH_INFO_PEER, NULL, 0);
    add_head(&request, sizeof(struct ifinfomsg));
    add(&request, IFLA_IFNAME, veth->host_name, strlen(veth->host_name) + 1);
    add(&request, IFLA_NET_NS_FD, &veth->host_netns, sizeof veth->host_netns);
    end(&request, peer), end(&request, data), end(&request, info);
    return carry(fd, &request);
}

static int bring_up(int fd, const char *name, uint32_t ip) {
    struct request request;
    uint32_t wire = htonl(ip);
    unsigned index = if_nametoindex(name);
    begin(&request, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE);
    struct ifaddrmsg *address = add_head(&request, sizeof *address);
    *address = (struct ifaddrmsg){.ifa_family = AF_INET, .ifa_prefixlen = 30, .ifa_index = index};
    add(&request, IFA_LOCAL, &wire, sizeof wire);
    add(&request, IFA_ADDRESS, &wire, sizeof wire);
    if (carry(fd, &request)) return -1;
    begin(&request, RTM_NEWLINK, 0);
    struct ifinfomsg *link = add_head(&request, sizeof *link);
    *link = (struct ifinfomsg){.ifi_index = (int)index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    return carry(fd, &request);
}

static int add_default_route(int fd, uint32_t gateway) {
    struct request request;
    uint32_t wire = htonl(gateway);
    begin(&request, RTM_NEWROUTE, NLM_F_CREATE);
    struct rtmsg *route = add_head(&request, sizeof *route);
    *route = (struct rtmsg){.rtm_family = AF_INET,
                            .rtm_table = RT_TABLE_MAIN,
                            .rtm_protocol = RTPROT_BOOT,
                            .rtm_scope = RT_SCOPE_UNIVERSE,
                            .rtm_type = RTN_UNICAST};
    add(&request, RTA_GATEWAY, &wire, sizeof wire);
    return carry(fd, &request);
}

int veth_make(const struct veth *veth) {
    int own_netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    int own = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (own_netns < 0 || own < 0) return complain("network: %s", strerror(errno));
    if (make_pair(own, veth))
        return complain("make the network interface %s: %s", veth->host_name, strerror(errno));
    if (setns(veth->host_netns, CLONE_NEWNET)) return complain("the host's network: %s", strerror(errno));
    int host = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    int failed = host < 0 || bring_up(host, veth->host_name, veth->host_ip) ? errno : 0;
    if (setns(own_netns, CLONE_NEWNET)) return complain("back to the own network: %s", strerror(errno));
    if (failed) return complain("bring up %s: %s", veth->host_name, strerror(failed));
    if (bring_up(own, "eth0", veth->own_ip)) return complain("bring up eth0: %s", strerror(errno));
    if (add_default_route(own, veth->host_ip)) return complain("default route: %s", strerror(errno));
    return 0;
}
