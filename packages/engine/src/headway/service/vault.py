"""The vault: secrets at rest are encrypted, bound to the place they are stored at.

Source: architecture, section 7; plugin protocol, section 12.
"""

from __future__ import annotations

import base64
import binascii
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from headway_wire.errors import Broken

KEY_BYTES = 32
NONCE_BYTES = 12
PREFIX = "v1:"


def new_key() -> bytes:
    """A fresh key, to be kept in a file that only the engine's user can read."""
    return os.urandom(KEY_BYTES)


class Vault:
    """Encrypts with AES-256-GCM under one key.  The place is authenticated: a moved text does not open."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, text: str, *, place: str) -> str:
        """The text, encrypted for one place, such as the key of its record."""
        nonce = os.urandom(NONCE_BYTES)
        return PREFIX + base64.b64encode(
            nonce + self._cipher.encrypt(nonce, text.encode(), place.encode())
        ).decode("ascii")

    def open(self, sealed: str, *, place: str) -> str:
        """The text that was sealed for this place.

        Raises Broken with code `secret_unreadable` when the key is another one or the text was changed.
        """
        try:
            raw = base64.b64decode(sealed.removeprefix(PREFIX), validate=True)
            return self._cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], place.encode()).decode()
        except (InvalidTag, binascii.Error, ValueError) as error:
            raise Broken(
                f"the secret at {place} cannot be read; was the store copied without its key file?",
                code="secret_unreadable",
            ) from error
