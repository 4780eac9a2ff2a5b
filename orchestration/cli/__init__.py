"""`jingxi`: the command line."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of `jingxi`: one clear sentence per error, a traceback only with --debug."""
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    from orchestration.cli.app import app
    from orchestration.errors import JingxiError

    try:
        app(arguments, standalone_mode=True, prog_name="jingxi")
    except JingxiError as error:
        if debug:
            raise
        print(f"jingxi: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        if debug:
            raise
        print("jingxi: stopped. What was published stays as it was.", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        print(
            f"jingxi: something unforeseen went wrong ({type(error).__name__}). Run the same command with "
            "--debug for the whole story.",
            file=sys.stderr,
        )
        sys.exit(1)
