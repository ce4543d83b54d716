"""The command `ravn`, and `python -m ravn`: Ctrl-C ends them in one line, even while torch is being imported."""

import os
import signal
import sys
from io import TextIOWrapper
from types import FrameType

from ravn.cli import INTERRUPTED


def main() -> None:
    """Entry point of the command."""
    heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not under nohup, nor in the background
    if heeded:
        signal.signal(signal.SIGINT, _leave)
    from ravn.cli.app import run

    if isinstance(sys.stdout, TextIOWrapper):  # names of files and signs that a terminal lacks become question marks
        sys.stdout.reconfigure(errors="replace")
    try:
        code = run(sys.argv[1:], begin=_listen if heeded else None)
    except KeyboardInterrupt:  # again, while the first was being answered
        code = INTERRUPTED
    if heeded:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(code)


def _listen() -> None:
    """Let the command answer Ctrl-C itself."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(_number: int, _frame: FrameType | None) -> None:
    """End at once: modules in the middle of their import answer an exception in any way, or not at all."""
    os.write(2, b"ravn: interrupted\n")
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
