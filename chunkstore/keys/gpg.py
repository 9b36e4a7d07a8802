"""gpg: sealing to pinned keys, and the user's own keyring. The public face of the `gpg_*` modules.

    gpg_packets   to whom a message is sealed: bytes only, no gpg
    gpg_process   one run of gpg: time limit, exit code, status lines
    gpg_listing   key listings: which key is meant, and why one is unfit
    gpg_pinned    seal and verify, with a homedir of their own that holds pinned keys only
    gpg_keyring   unseal, sign, find and make keys, with the user's homedir and agent

gpg's exit code alone proves nothing: it is 0 for a message cut off before its data, and with `ignore-mdc-error` for
an altered one. So every result is checked against the status lines (gnupg/doc/DETAILS).
"""

from chunkstore.keys.gpg_keyring import PATIENCE, UserKeyring
from chunkstore.keys.gpg_packets import message_key_ids
from chunkstore.keys.gpg_pinned import TIMEOUT, Recipient, Signer, seal, verify

__all__ = ["PATIENCE", "TIMEOUT", "Recipient", "Signer", "UserKeyring", "message_key_ids", "seal", "verify"]
