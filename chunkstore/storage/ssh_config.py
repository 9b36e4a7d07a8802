"""What the user's ssh_config(5) says about a host.

paramiko.SSHConfig does the work. It knows no Include, which is therefore put in here before it reads the text. A
`Match` with `exec` would start a process; such a block never matches.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import paramiko

from chunkstore.errors import InvalidArgument
from chunkstore.storage.ssh_known_hosts import SSH_PORT
from chunkstore.storage.ssh_options import SshOptions

_KEYWORD: Final = re.compile(r"\s*(\w+)(?:\s*=\s*|\s+)(.*?)\s*", re.DOTALL)
_INCLUDE_DEPTH: Final = 16
_EVERYBODY: Final = "Host *"
_NOBODY: Final = "Host !*"


@dataclass(frozen=True, slots=True)
class SshTarget:
    """A host to log in to, with everything the configuration says about it.

    `alias`: what the user called it. `key_names_host`: the host's name in files of known hosts. `explicit_keys`: the
    key files are named in the configuration, they are not just the usual ones. `keep_alive`: seconds between signs
    of life, 0 for none. `jumps`: hosts to go through, in this order.
    """

    alias: str
    host: str
    port: int
    user: str
    key_files: tuple[str, ...]
    explicit_keys: bool
    identities_only: bool
    known_hosts: tuple[str, ...]
    host_key_alias: str | None
    connect_timeout: float
    keep_alive: int
    jumps: tuple[str, ...]
    proxy_command: str | None

    @property
    def shown(self) -> str:
        """For messages."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == SSH_PORT else f":{self.port}"
        return f"{self.user}@{host}{port}"


def find_target(alias: str, user: str | None, port: int | None, options: SshOptions) -> SshTarget:
    """Everything about a host; `user` and `port` come before the configuration. InvalidArgument where that is wrong."""
    try:
        values = _parsed(options).lookup(alias)
    except (paramiko.ConfigParseError, paramiko.CouldNotCanonicalize, OSError, KeyError, ValueError) as error:
        raise InvalidArgument(f"{options.config_files[0]}: can not be used: {error}") from error
    keys = tuple(_path(file, options) for file in values.get("identityfile", ()) if file.lower() != "none")
    jump, command = values.get("proxyjump") or "none", values.get("proxycommand")
    return SshTarget(
        alias=alias,
        host=values["hostname"],
        port=port or _number(values.get("port"), "Port", SSH_PORT),
        user=user or values.get("user") or options.user,
        key_files=keys or options.key_files,
        explicit_keys=bool(keys),
        identities_only=_yes(values.get("identitiesonly")),
        known_hosts=_known_hosts(values, options),
        host_key_alias=values.get("hostkeyalias"),
        connect_timeout=_number(values.get("connecttimeout"), "ConnectTimeout", 0) or options.connect_timeout,
        keep_alive=_number(values.get("serveraliveinterval"), "ServerAliveInterval", 0),
        jumps=() if jump.lower() == "none" else tuple(each.strip() for each in jump.split(",")),
        proxy_command=command,
    )


def _known_hosts(values: paramiko.SSHConfigDict, options: SshOptions) -> tuple[str, ...]:
    def files(keyword: str, usual: Sequence[str]) -> Iterator[str]:
        named = values.get(keyword)
        if named is None:
            yield from usual
        elif named.lower() != "none":
            yield from (_path(file, options) for file in named.replace('"', "").split())

    user = files("userknownhostsfile", options.user_known_hosts)
    return *user, *files("globalknownhostsfile", options.system_known_hosts)


def _path(text: str, options: SshOptions) -> str:
    """A path of the configuration: `~` and %d are the home directory."""
    text = text.strip('"').replace("%d", options.home).replace("%%", "%")
    if text == "~" or text.startswith("~/"):
        text = options.home + text[1:]
    return os.path.join(options.home, text)


def _number(text: str | None, keyword: str, otherwise: int) -> int:
    if text is None or text.lower() == "none":
        return otherwise
    if not (text.isascii() and text.isdigit() and int(text) < 1 << 16):
        raise InvalidArgument(f"the SSH configuration has {keyword} {text!r}, which is no number it can be")
    return int(text)


def _yes(text: str | None) -> bool:
    return text is not None and text.lower() in ("yes", "true")


# -- reading


def _parsed(options: SshOptions) -> paramiko.SSHConfig:
    lines: list[str] = []
    for file in options.config_files:
        # Between two files the block of the first one ends.
        lines += [_EVERYBODY, *_lines(file, options, _EVERYBODY, 0)]
    return paramiko.SSHConfig.from_text("\n".join(lines))


def _lines(file: str, options: SshOptions, block: str, depth: int) -> Iterator[str]:
    """The lines of a configuration, those it includes in their place. `block`: the Host or Match line they are under."""
    if depth > _INCLUDE_DEPTH:
        raise InvalidArgument(f"{file}: configurations of SSH include each other too deeply")
    try:
        with open(file, encoding="utf-8", errors="surrogateescape") as text:
            lines = text.read().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        keyword = match[1].lower() if (match := _KEYWORD.fullmatch(line)) else ""
        if match is None or keyword not in ("host", "match", "include"):
            yield line
        elif keyword == "include":
            for included in _included(match[2], file, options):
                yield from _lines(included, options, block, depth + 1)
            yield block  # whose lines go on here
        else:
            block = _NOBODY if keyword == "match" and re.search(r"(?i)\bexec\b", match[2]) else line
            yield block


def _included(patterns: str, file: str, options: SshOptions) -> Iterator[str]:
    """The files an Include names: relative ones are beside the user's configuration, or the machine's."""
    for pattern in patterns.split():
        pattern = pattern.strip('"')
        if pattern.startswith("~/"):
            pattern = options.home + pattern[1:]
        beside = options.in_ssh("") if file.startswith(options.home) else os.path.dirname(file)
        yield from sorted(glob.glob(os.path.join(beside, pattern)))
