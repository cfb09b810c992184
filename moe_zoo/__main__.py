"""`python -m moe_zoo` is the `moe-zoo` command."""

from moe_zoo.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
