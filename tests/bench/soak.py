"""`./dev bench soak [--minutes N]`: half an hour of everything that goes wrong, an audit, and the memory of both sides.

It is asked for by name: `./dev bench` alone runs what defines `main` in its own file, and this would take too long.
"""

from __future__ import annotations

import sys

from tests.bench.support.soaking import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
