"""Gitignore globs as regular expressions on bytes that take time linear in the length of what they are matched with.

    *       any bytes but slashes          ?       one byte, no slash
    [a-z]   one byte of a set              [!a-z]  one byte outside of it; [[:alpha:]] and the other classes of POSIX
    **/     any directories, or none       /**     everything below
    \\x      x itself

The rules are those of git's wildmatch.c. An atomic group takes the leftmost place where the part of a glob between two
stars fits: what comes before the last star never needs another one, so no glob makes the matcher try many.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

from chunkstore.errors import InvalidArgument

_STAR: Final = b"*"
_SLASH: Final = b"/"
_ANY: Final = b"[^/]"
_ANY_DIRECTORIES: Final = None
"""A segment `**`."""

_Segment: TypeAlias = list[bytes] | None
"""Regular expressions of one byte each, and stars."""
_NAMED: Final = re.compile(rb"\[:([^]]*):\]")

_CLASSES: Final = {
    b"alnum": string.ascii_letters + string.digits,
    b"alpha": string.ascii_letters,
    b"blank": " \t",
    b"cntrl": "".join(map(chr, range(32))) + "\x7f",
    b"digit": string.digits,
    b"graph": "".join(map(chr, range(33, 127))),
    b"lower": string.ascii_lowercase,
    b"print": "".join(map(chr, range(32, 127))),
    b"punct": string.punctuation,
    b"space": " \t\n\v\f\r",
    b"upper": string.ascii_uppercase,
    b"xdigit": string.hexdigits,
}


class Glob(NamedTuple):
    """A regular expression for `re.match` with DOTALL, on a whole name or on a path without a slash before it.

    `literal` is what alone it matches, where it has no wildcards.
    """

    regex: bytes
    on_name: bool
    literal: bytes | None


def translate(pattern: bytes, *, ignore_case: bool = False) -> Glob:
    """What a gitignore pattern matches, without `!` before it and the slash after it, which are not of the glob.

    Without a slash it is matched with names; with one, also a leading one, with whole paths. With `ignore_case` the
    letters of ASCII match in either case. Raises `InvalidArgument` for what can match nothing.
    """
    segments = _segments(pattern, ignore_case)
    anchored = len(segments) > 1
    if anchored and segments[0] == [] and pattern.startswith(_SLASH):
        del segments[0]  # the slash at the beginning
    if [] in segments:
        raise InvalidArgument("it is empty" if len(segments) == 1 else "nothing is between two slashes of it")
    if len(segments) == 2 and segments[0] is _ANY_DIRECTORIES and segments[1] is not _ANY_DIRECTORIES:
        del segments[0]  # `**/name` is `name`
        anchored = False
    on_name = not anchored and segments != [_ANY_DIRECTORIES]
    regex = b"(?s:%s)" % _path(segments)
    return Glob(b"(?i:%s)" % regex if ignore_case else regex, on_name, None if ignore_case else _literal(segments))


# -- reading


def _segments(pattern: bytes, ignore_case: bool) -> list[_Segment]:
    """What stands between the slashes."""
    segments: list[_Segment] = []
    tokens: list[bytes] = []
    for token in (*_tokens(pattern, ignore_case), _SLASH):
        if token != _SLASH:
            tokens.append(token)
            continue
        wild = len(tokens) > 1 and all(each == _STAR for each in tokens)
        if not (wild and segments and segments[-1] is _ANY_DIRECTORIES):
            segments.append(_ANY_DIRECTORIES if wild else tokens)
        tokens = []
    return segments


def _tokens(pattern: bytes, ignore_case: bool) -> Iterator[bytes]:
    at = 0
    while at < len(pattern):
        byte = pattern[at : at + 1]
        at += 1
        if byte == b"?":
            yield _ANY
        elif byte == b"[":
            token, at = _set(pattern, at, ignore_case)
            yield token
        elif byte == b"\\":
            if at == len(pattern):
                raise InvalidArgument("it ends with a backslash")
            escaped = pattern[at : at + 1]
            at += 1
            yield escaped if escaped == _SLASH else re.escape(escaped)
        elif byte in (_STAR, _SLASH):
            yield byte
        else:
            yield re.escape(byte)


def _set(pattern: bytes, at: int, ignore_case: bool) -> tuple[bytes, int]:
    """The set in brackets whose content begins at `at`, and where it ends."""
    negated = pattern[at : at + 1] in (b"!", b"^")
    at += negated
    members, last, first = set[int](), -1, True
    while first or pattern[at : at + 1] != b"]":
        first = False
        named = _NAMED.match(pattern, at)
        if named:
            if named[1] not in _CLASSES:
                raise InvalidArgument(f"no such class: {named[0].decode('ascii', 'backslashreplace')}")
            members.update(_CLASSES[named[1]].encode())
            at, last = named.end(), -1
        elif pattern[at : at + 1] == b"-" and last >= 0 and pattern[at + 1 : at + 2] not in (b"", b"]"):
            end, at = _member(pattern, at + 1)
            members.update(range(last, end + 1))
            last = -1
        else:
            last, at = _member(pattern, at)
            members.add(last)
    if ignore_case:
        members.update(bytes(members).lower(), bytes(members).upper())
    chosen = (set(range(256)) - members if negated else members) - {ord("/")}
    return b"[%s]" % b"".join(b"\\x%02x" % each for each in sorted(chosen)) if chosen else b"(?!)", at + 1


def _member(pattern: bytes, at: int) -> tuple[int, int]:
    at += pattern[at : at + 1] == b"\\"
    if at >= len(pattern):
        raise InvalidArgument("a bracket is not closed")
    return pattern[at], at + 1


# -- writing


def _path(segments: Sequence[_Segment]) -> bytes:
    r"""Blocks of segments between `**`: one is found after the other, the last one at the end.

    What ends with `**` matches as soon as something is below; else the match ends with `\Z`.
    """
    blocks: list[list[list[bytes]]] = [[]]
    for segment in segments:
        if segment is _ANY_DIRECTORIES:
            blocks.append([])
        else:
            blocks[-1].append(segment)
    *before, last = blocks
    parts = []
    for number, block in enumerate(before):
        found = b"".join(_segment(each) + b"/" for each in block)
        parts.append(b"(?>(?:[^/]*/)*?%s)" % found if number and block else found)
    if last:
        if before:
            parts.append(b"(?:.*/)?")
        parts += [b"/".join(map(_segment, last)), rb"\Z"]
    return b"".join(parts)


def _segment(tokens: Sequence[bytes]) -> bytes:
    """One segment: what is between two stars fits at its leftmost place, what is after the last one at the end."""
    pieces: list[list[bytes]] = [[]]
    for token in tokens:
        if token == _STAR:
            pieces.append([])
        else:
            pieces[-1].append(token)
    first, *starred = map(b"".join, pieces)
    if not starred:
        return first
    return b"".join((first, *(b"(?>[^/]*?%s)" % each for each in starred[:-1] if each), b"[^/]*", starred[-1]))


def _literal(segments: Sequence[_Segment]) -> bytes | None:
    names = []
    for segment in segments:
        if segment is _ANY_DIRECTORIES or not all(_is_literal(token) for token in segment):
            return None
        names.append(b"".join(token[-1:] for token in segment))
    return b"/".join(names)


def _is_literal(token: bytes) -> bool:
    return token != _STAR and (len(token) == 1 or (len(token) == 2 and token.startswith(b"\\")))
