"""Names of users and groups, and the numbers they have on this machine."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Callable
from typing import TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")


class Accounts:
    """Looks each name and number up once: a directory service may be far away, and may change its mind in between."""

    def __init__(self) -> None:
        self._users: dict[int, str | None] = {}
        self._groups: dict[int, str | None] = {}
        self._uids: dict[str, int | None] = {}
        self._gids: dict[str, int | None] = {}

    def user(self, uid: int) -> str | None:
        """The name of a user; None for one without, or with one that is no text."""
        return _once(self._users, uid, lambda: _text(pwd.getpwuid(uid).pw_name))

    def group(self, gid: int) -> str | None:
        """The name of a group, as for `user`."""
        return _once(self._groups, gid, lambda: _text(grp.getgrgid(gid).gr_name))

    def uid(self, name: str) -> int | None:
        """The number that a user has here; None for a name that nobody has."""
        return _once(self._uids, name, lambda: pwd.getpwnam(name).pw_uid)

    def gid(self, name: str) -> int | None:
        """The number that a group has here, as for `uid`."""
        return _once(self._gids, name, lambda: grp.getgrnam(name).gr_gid)


def _once(known: dict[_K, _V | None], key: _K, find: Callable[[], _V | None]) -> _V | None:
    if key not in known:
        try:
            known[key] = find()
        except (KeyError, ValueError, OverflowError, OSError):  # nobody; no name at all; no number; no service
            known[key] = None
    return known[key]


def _text(name: str) -> str | None:
    return name if name.isprintable() and name else None
