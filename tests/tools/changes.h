/* An honest record made into one that breaks a rule: what hostile sends to a collector, and rule-samples writes into tests/data/rules. Those that only
 * one of them has are there. */
#pragma once

#include "templates/records.h"

/* Whatever is no address, or has no mirror, ends the program. */
SamiAddress record_address(const gchar *text);
void record_mirror(SamiSession *session);
/* The VM's flow to this address, of its family. */
void record_set_remote(SamiSession *session, const gchar *address);
/* Of another protocol, with these groups instead of TCP's. */
void record_of_protocol(SamiSession *session, guint8 protocol, guint32 has);

void change_other_vm(SamiSession *session);
void change_vm_translated(SamiSession *session);
void change_snat_unlisted(SamiSession *session);
void change_dnat_unlisted(SamiSession *session);
void change_to_loopback(SamiSession *session);
void change_to_multicast(SamiSession *session);
void change_to_link_local6(SamiSession *session);
void change_own_master(SamiSession *session);
void change_tcp_state(SamiSession *session);
void change_sctp_state(SamiSession *session);
void change_no_time(SamiSession *session);
void change_window_scale(SamiSession *session);
void change_udp_with_tcp(SamiSession *session);
void change_action(SamiSession *session);
void change_without_timeout(SamiSession *session);
void change_without_tcp(SamiSession *session);
void change_dccp(SamiSession *session);
void change_half_a_mask(SamiExpectation *expectation);
void change_for_ever(SamiExpectation *expectation);
