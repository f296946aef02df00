/* DTLS over the SCTP sockets of the kernel, over IP: the cases of TLS over TCP, and some of test-transport-sctp. Skipped where the kernel has none;
 * tests/e2e/124-kernel-sctp runs it in a guest that has. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/unit/harness.h"
#include "tests/unit/transport-pair.h"

#define N_RECORDS 20000u

static int
set_up(void)
{
    lab_is_sctp = TRUE;
    lab_sctp = (SamiSctpConfig){ .backend = SAMI_SCTP_KERNEL };
    return pair_set_up();
}

/* Small Messages, several a packet. */
static void
test_records(void)
{
    SamiFrameOpen open;
    lab_message_limit = 120;
    pair_start_pinned();
    if (pair_meet(&open, &open))
        pair_exchange(N_RECORDS, N_RECORDS);
    pair_stop();
    lab_message_limit = 0;
}

static void
test_ipv6(void)
{
    SamiFrameOpen server, client;
    lab_host = "[::1]";
    pair_start_pinned();
    if (pair_meet(&server, &client)) {
        CU_ASSERT(g_str_has_prefix(server.address, "[::1]:") && g_str_has_prefix(client.address, "[::1]:"));
        pair_exchange(100, 100);
    }
    pair_stop();
    lab_host = "127.0.0.1";
}

/* An association that does not offer to authenticate DATA, as none does by default (net.sctp.auth_enable), is aborted: an orderly end would wait for
 * what its peer does not take. */
static void
test_abort(void)
{
    gchar octet;
    pair_start_pinned();
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((guint16) listener.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_SCTP);
    CU_ASSERT_FATAL(fd >= 0 && connect(fd, (struct sockaddr *) &to, sizeof(to)) == 0);
    struct pollfd entry = { fd, POLLIN, 0 };
    CU_ASSERT_EQUAL(poll(&entry, 1, LAB_TIMEOUT_MS), 1);
    errno = 0;
    CU_ASSERT(recv(fd, &octet, 1, MSG_DONTWAIT) < 0 && errno == ECONNRESET);
    close(fd);
    pair_stop();
}

static const SamiTest own_cases[] = {
    { "20000 records each way", test_records },
    { "IPv6", test_ipv6 },
    { "refused by an ABORT", test_abort },
};

int
main(void)
{
    g_autoptr(GArray) tests = g_array_new(FALSE, FALSE, sizeof(SamiTest));
    if (sami_sctp_choose(SAMI_SCTP_AUTO) != SAMI_SCTP_KERNEL) {
        puts("SKIP: this kernel gives no SCTP socket");
        return 77;
    }
    g_array_append_vals(tests, transport_cases, n_transport_cases);
    g_array_append_vals(tests, own_cases, G_N_ELEMENTS(own_cases));
    signal(SIGPIPE, SIG_IGN);
    return sami_test_main("transport kernel SCTP", (const SamiTest *) (gpointer) tests->data, tests->len, set_up, pair_tear_down);
}
