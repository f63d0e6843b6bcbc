"""The command `pog`, also as `python -m pog`."""

import signal


def main() -> None:
    """Ends the process. An interrupt while it is still being imported is no traceback either."""
    try:
        from pog.cli.main import main as cli

        cli.main(prog_name="pog")
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None


if __name__ == "__main__":
    main()
