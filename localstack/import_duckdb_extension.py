"""Import DuckDB's spatial extension from its wheel into a home directory, once.

bqemulator loads the extension at every start, and would download it if its HOME does not have it.

    python localstack/import_duckdb_extension.py HOME_DIRECTORY
"""

import os
import sys
from pathlib import Path


def main() -> None:
    """Import the extension, unless it is installed already."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    home = Path(sys.argv[1]).resolve()
    home.mkdir(parents=True, exist_ok=True)
    # DuckDB reads HOME when it opens its first connection.
    os.environ["HOME"] = str(home)
    from duckdb_extensions import import_extension

    import_extension("spatial")


if __name__ == "__main__":
    main()
