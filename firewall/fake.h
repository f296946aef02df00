/* What tests do to the fake twin that a kernel does by itself: packets, time, other users. All of
 * these act as the kernel (port id 0), so every open event source sees them. One thread. */
#pragma once

#include "firewall/firewall.h"

/* Another handle to the same table, as another process would have: its changes are events for the
 * first one. (transfer full) */
SamiFirewall *sami_firewall_fake_share(SamiFirewall *firewall);

/* A packet in a direction (0 original, 1 reply): counters, the state's own timeout, and at the
 * first reply SEEN_REPLY with its event. FALSE if there is no such entry. */
gboolean sami_firewall_fake_touch(SamiFirewall *firewall, const SamiFlowKey *key, guint direction,
                                  guint64 octets);
/* Packets that take a TCP flow to another state; an event. FALSE if there is no such entry. */
gboolean sami_firewall_fake_set_state(SamiFirewall *firewall, const SamiFlowKey *key,
                                      guint8 tcp_state);
/* Time passes: timeouts shrink, and what has none left goes with an event. */
void sami_firewall_fake_age(SamiFirewall *firewall, guint32 seconds);
/* The kernel drops an entry. FALSE if there is no such entry. */
gboolean sami_firewall_fake_delete(SamiFirewall *firewall, const SamiFlowKey *key);
/* Something else changes an entry, without an event. FALSE if there is no such entry. */
gboolean sami_firewall_fake_change(SamiFirewall *firewall, const SamiFlowKey *key,
                                   void (*change)(SamiSession *session));
/* The next creation, of an entry or of an expectation, is answered with this errno and makes nothing. */
void sami_firewall_fake_answer(SamiFirewall *firewall, int result);
/* n_good more requests - batches, look-ups, beginnings of a dump, headroom - are answered, and the n_failures after them fail with
 * SAMI_ERROR_KERNEL. A batch has been done then all the same, and nobody is told what it came to. */
void sami_firewall_fake_fail(SamiFirewall *firewall, guint n_good, guint n_failures);
/* The next read or barrier of every open event source answers SAMI_ERROR_OVERRUN, and what was
 * queued is lost. */
void sami_firewall_fake_overrun(SamiFirewall *firewall);
/* Entries in one part of a dump, 1 to 135 (the kernel's 32 kB); parts are filled one ahead. */
void sami_firewall_fake_set_part(SamiFirewall *firewall, guint n_entries);
