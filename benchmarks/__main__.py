"""`make bench`: the benchmarks that need nothing but this checkout, one JSON line a case."""

from __future__ import annotations

import subprocess
import sys

COMMANDS = (
    ["benchmarks.packing", "--n", "1e6"],
    ["benchmarks.build"],
    ["benchmarks.load"],
)


def main() -> int:
    """Run them one after another; the worst exit code."""
    return max(
        subprocess.run([sys.executable, "-m", *command], check=False).returncode for command in COMMANDS
    )


if __name__ == "__main__":
    sys.exit(main())
