/* For programs that read private keys. */
#pragma once

/* From now on what OpenSSL frees is overwritten first: its decoders free the octets of a private key as they are (EC keys, 3.0). To be called
 * before anything else of OpenSSL; later it changes nothing. */
void sami_tls_wipe_freed(void);
