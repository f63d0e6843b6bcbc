"""`python -m pog` is the command `pog`."""

from pog.cli import main

main(prog_name="pog")
