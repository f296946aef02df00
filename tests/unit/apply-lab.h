/* One migration's records against the fake kernel: its VM is 10.0.0.13, its lease 60 s. */
#pragma once

#include "collector/apply.h"
#include "firewall/fake.h"

extern SamiFirewall *world;
extern SamiApply *apply;

/* Around each case. */
void apply_begin(void);
void apply_end(void);
/* A further migration to the same firewall, which is `apply` from now on; apply_end() ends them all. Returns the one before. (transfer none) */
SamiApply *apply_begin_another(void);

/* From the VM's port 1000 to 198.51.100.1, port 53, confirmed and with these status bits besides; TCP is ESTABLISHED. */
SamiSession apply_flow(guint8 protocol, guint32 status);
/* A control connection of ftp. */
SamiSession apply_master(void);
/* Is in the kernel before, and not ours. */
void apply_add_foreign(SamiSession s);

/* One record. is_redumping: the collector expects entries to be there and builds no messages ahead. */
void apply_say_while(SamiSession s, SamiAction action, gboolean is_redumping);
void apply_say(SamiSession s, SamiAction action);

/* What the kernel has; FALSE: nothing. */
gboolean apply_get(const SamiSession *s, SamiSession *ret);
void apply_read_back(void);
