"""`python -m benchmarks SUBCOMMAND`; each has --help."""

import argparse
import importlib
import sys

SUBCOMMANDS = (
    "cutest", "composite", "sharding", "compile", "solve", "overhead", "batch", "memory", "scale", "again",
    "gpu", "least_squares", "fits", "counts", "compare", "constrained", "train",
)  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Run what the command line asks for; another subcommand's packages need not be there."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="SUBCOMMAND")
    for name in set(SUBCOMMANDS) & set(arguments[:1]) or SUBCOMMANDS:
        module = importlib.import_module(f"benchmarks.{name}")
        command = commands.add_parser(name, help=module.__doc__.splitlines()[0], description=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(main=module.main)
    options = parser.parse_args(arguments)
    options.main(options)


if __name__ == "__main__":
    main()
