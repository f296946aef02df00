/* What a peer's records mean here: VLAN -> own zone, addresses, marks and labels (the keys vlans and mark-mask of sami.conf, map-addresses, map-marks and
 * map-labels of signers.d), and back. Pure.
 *
 * Applied between decoding and the record rules: whatever comes behind it, policy, ledger, kernel, gate, knows this firewall's zones and
 * addresses only. The way back is for what is told to the peer: it has to find its own flow under the key. */
#pragma once

#include "common/config.h"
#include "templates/expectation.h"
#include "templates/validate.h"

typedef struct SamiMap SamiMap;

/* *ret_map is NULL where nothing is mapped, which costs nothing a record. SAMI_ERROR_CONFIG. */
gboolean sami_map_load(const SamiConfig *config, const SamiConfigSigner *signer, SamiMap **ret_map, GError **error);
/* NULL is fine. Main loop only; the rest may be called by any thread. */
SamiMap *sami_map_ref(SamiMap *map);
void sami_map_unref(SamiMap *map);

/* In all of these `map` may be NULL. */

/* NONE, or why it means nothing here; then the session is untouched. *ret_n_cut, if not NULL, grows by one if mark bits were cleared. */
SamiReason sami_map_session(const SamiMap *map, SamiSession *session, guint64 *ret_n_cut);
/* The same of an expectation. */
SamiReason sami_map_expectation(const SamiMap *map, SamiExpectation *expectation);
/* An address or prefix of a VM. MAP_CLASH: a pair covers only a part of it, or has given it to another; untouched then. */
SamiReason sami_map_prefix(const SamiMap *map, SamiPrefix *prefix);

/* The key that the peer has for a flow of ours that it brought: its addresses, and the VLAN if the zone has one (SAMI_FLOW_KEY_VLAN). */
void sami_map_key_back(const SamiMap *map, SamiFlowKey *key);
/* The key under which a refusal names a record: the peer's, of a flow of ours; or as it came, if the map refused it. `vlan` 0: the record names
 * none. */
SamiFlowKey sami_map_key_told(const SamiMap *map, SamiReason reason, const SamiFlowKey *key, guint16 vlan);
