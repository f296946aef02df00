/* Is conntrackd at work in the network namespace of the caller?
 *
 * Its lock file and its control socket have the names that its configuration gives them, and belong to a file system and not to a
 * namespace; a listener in /proc/net/netlink may be anybody's. So both ends of the matter are compared: a process by the name of conntrackd
 * whose /proc/PID/net is ours (one inode a namespace, readable without privileges), and a NETLINK_NETFILTER socket of this namespace
 * that has its process id for its port id, as the first such socket of each process has (netlink_autobind(), Linux 6.18). So neither a daemon in
 * another namespace nor a client, as in `conntrackd -s`, is taken for one. Not seen is a daemon in a PID namespace beside ours, and, with
 * hidepid or ProtectProc=, any. */
#pragma once

#include <sys/types.h>

/* Its process id, 0 for none. Reads /proc: some milliseconds. */
pid_t sami_conntrackd_find(void);
