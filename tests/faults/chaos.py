"""Inject random faults, two at once, in a sequence that its seed decides, and report what became of the quotes.

make chaos ARGS="--seed 1 --seconds 180"
"""

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from testkit.faults import mixed, trial


def main() -> None:
    """Run until the time is over; a lost or doubled quote ends it with an error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="decides the faults and their order")
    parser.add_argument("--seconds", type=float, default=180, help="how long faults are injected (default 180)")
    options = parser.parse_args()
    # So that the servers end with this process. What can be looked at stays.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    chance = random.Random(options.seed)  # noqa: S311 - a seeded sequence
    # What failed can be looked at: the folder is removed after a success only.
    directory = Path(tempfile.mkdtemp(prefix="chaos-"))
    print(f"seed {options.seed}: faults for {options.seconds:g} s, in {directory}", flush=True)
    with trial(directory) as running:
        end = time.monotonic() + options.seconds
        injected = 0
        while time.monotonic() < end:
            faults = mixed(chance)
            print(f"  {' and '.join(faults)}", flush=True)
            for effect in running.inject(*faults):
                print(f"    {effect}", flush=True)
            injected += len(faults)
        print("healed; waiting until bronze has every quote", flush=True)
        quotes_in, quotes_out = running.settle()
    shutil.rmtree(directory)
    print(f"{injected} faults: {quotes_in} quotes acknowledged by Kafka, {quotes_out} in bronze, each once")


if __name__ == "__main__":
    main()
