"""Where the `regrow` script begins: Ctrl-C is no error, however early it comes.

Loading the command line takes a while, most of it for typer, and what a person interrupts there is no bug
of anybody. So this file imports nothing before it is ready for that.
"""

import sys
from typing import NoReturn

EXIT_INTERRUPTED = 130
"""128 and the number of SIGINT, as shells have it."""


def main() -> NoReturn:
    """Loads the command line and runs it."""
    try:
        from regrow.cluster.cli import main as run_command

        run_command()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
