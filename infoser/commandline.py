"""What every command shares: mistakes end in one line and an exit status, repeated flags are refused."""

import os
import re
import sys
from collections.abc import Callable, Collection, Sequence

from infoser.errors import InfoserError


def run_command(command: Callable[[Sequence[str]], object], argv: Sequence[str] | None = None) -> int:
    """Runs `command(argv)` and returns the process' exit status.

    Args:
      command: takes the arguments (without the program's name); what it returns is ignored.
      argv: the arguments; None means those of this process.

    Returns:
      0 when it went well; 2 after a mistake of the user (an InfoserError, or a refusal of the file system, of memory or
      of the devices' memory that nothing closer to it turned into one, printed as `error: …` on stderr);
      130 when the user interrupted it; 141, as a shell says it, when the reader of its output went away.
    """
    try:
        command(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()  # so that a closed pipe shows here, and not in the interpreter's last moments
    except InfoserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more at its end
        return 141
    except OSError as error:  # a name that is too long, a folder that may not be read: wherever a path is looked at
        if error.errno is None:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror}; give another path, or mend that", file=sys.stderr)
        return InfoserError.status
    except MemoryError as error:
        print(
            f"error: the memory does not suffice ({error or 'no more is to be had'}); ask for less at a time", file=sys.stderr
        )
        return InfoserError.status
    except RuntimeError as error:  # JAX' own kind is one, and this module is imported before JAX
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        said = str(error).splitlines()[0]
        print(
            f"error: the memory of the devices does not suffice ({said}); lower --resident-gib, --max-group-gib or batch "
            "sizes, or ask for fewer variants and cells at a time",
            file=sys.stderr,
        )
        return InfoserError.status
    return 0


def refuse_repeated_flags(
    argv: Sequence[str], flags: Collection[str] | None = None, *, repeatable: Collection[str] = ()
) -> None:
    """Refuses a flag that is given twice, because tyro would keep only the last and drop the others without a word.

    Args:
      argv: the arguments; those after a bare `--` are not looked at.
      flags: the flags to look at (`--seeds`); None looks at every one. `--a_b`, `--a-b` and `--a-b=1` are one flag,
        and so are a switch and its opposite, `--a.b` and `--a.no-b`.
      repeatable: flags that gather their values, and may come again.

    Raises:
      InfoserError: naming the first flag that comes a second time.
    """
    watched = None if flags is None else {_flag(flag) for flag in flags}
    seen: set[str] = set()
    for argument in argv:
        if argument == "--":
            return
        if not argument.startswith("--"):
            continue
        flag = _flag(argument)
        if flag in repeatable or (watched is not None and flag not in watched):
            continue
        if flag in seen:
            raise InfoserError(f"{flag} is given twice; give it once, with all its values after it")
        seen.add(flag)


def _flag(argument: str) -> str:
    return re.sub(r"(^--|\.)no-", r"\1", argument.split("=", 1)[0].replace("_", "-"))
