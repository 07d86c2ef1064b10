"""`python -m benchmarks SUBCOMMAND`; each has --help."""

import argparse

from benchmarks import composite, cutest, sharding

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="SUBCOMMAND")
    for module in (cutest, composite, sharding):
        name, summary = module.__name__.split(".")[-1], module.__doc__.splitlines()[0]
        command = commands.add_parser(name, help=summary, description=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(main=module.main)
    options = parser.parse_args()
    options.main(options)
