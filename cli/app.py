"""The command `chunkstore`: its commands are imported only when they are called, to start fast."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import click

from chunkstore import __version__

from .failures import FAILED, USAGE, end_output, exit_code, explain
from .options import common_options
from .storage_options import StorageOption

COMMANDS = {
    "init": "Make a new repository, encrypted for GPG keys.",
    "join": "Make this machine a client of an existing repository.",
    "snapshot": "Store files and folders as a new snapshot.",
    "snapshots": "List the snapshots.",
    "tag": "Change the tags of snapshots.",
    "forget": "Remove snapshots, by rules or by name.",
    "stats": "Show how much is stored, and what would be freed.",
    "extend-locks": "Extend the object locks of what snapshots use.",
    "restore": "Write a snapshot, or a part of it, to a folder.",
    "ls": "List what is in a snapshot.",
    "find": "Find files in all snapshots.",
    "diff": "Show what differs between snapshots, or from the files on disk.",
    "history": "List the versions of a file over all snapshots.",
    "cat": "Write a file of a snapshot to standard output.",
    "verify": "Compare a snapshot with the files on disk.",
    "bench": "Measure how well files deduplicate, without a repository.",
    "copy": "Copy snapshots from another repository.",
    "prune": "Delete what no snapshot needs any more.",
    "check": "Check that everything snapshots need is there and whole.",
    "repair": "Mend the index, or give up what is damaged.",
}
_EPILOG = """\b
First steps:
  chunkstore -r /backup init --encrypt-to you@example.org
  chunkstore -r /backup snapshot ~/Documents
  chunkstore -r /backup snapshots
  chunkstore -r /backup restore latest ~/restored

CHUNKSTORE_REPOSITORY in the environment stands for -r."""


class LazyGroup(click.Group):
    """Knows the names of its commands, and a line on each, without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f".commands.{cmd_name.replace('-', '_')}", __package__)
        command: click.Command = module.command
        return command

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, of_storages in (("Options", False), ("Options of storages", True)):
            options = [each for each in self.get_params(ctx) if isinstance(each, StorageOption) is of_storages]
            with formatter.section(title):
                formatter.write_dl([record for each in options if (record := each.get_help_record(ctx))])
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EPILOG,
    no_args_is_help=True,
)
@click.version_option(__version__, prog_name="chunkstore", message="%(prog)s %(version)s")
@common_options
def chunkstore() -> None:
    """Backups that the machine which makes them can not read.

    Files are cut by content, deduplicated, compressed, and encrypted for GPG keys. Making snapshots needs no private
    key; reading them does.
    """


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit code."""
    code = _run(arguments)
    return code if end_output() else code or FAILED


def _run(arguments: Sequence[str]) -> int:
    try:
        result = chunkstore.main(args=list(arguments), prog_name="chunkstore", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as e:
        click.echo(e.format_message(), err=True)
        return USAGE
    except click.ClickException as e:
        e.show()
        return e.exit_code
    except click.exceptions.Exit as e:
        return e.exit_code
    except BrokenPipeError:  # whoever reads has seen enough
        return FAILED
    except (Exception, KeyboardInterrupt) as e:  # noqa: BLE001  the outermost frame: no traceback for people
        explain(e)
        return exit_code(e)
    return result if isinstance(result, int) else 0
