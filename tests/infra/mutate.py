"""Make each defect of `mutations.py` alone in a copy of `infra/` and report which test notices: `make mutate-infra`."""

import argparse
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mutations import MUTATIONS, Mutation, mutated, noticing, suites
from testkit.terraform import Terraform, copy_of_infra


def main() -> int:
    """Return the exit code: 0 where every defect is noticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="a part of the names of the defects to make")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time (default: 2)")
    options = parser.parse_args()
    chosen = [mutation for mutation in MUTATIONS if options.only in mutation.name]
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(options.jobs) as pool:
        ready = copy_of_infra(Path(directory))
        Terraform(ready / "aws").init()
        every = sorted({test for mutation in chosen for test in suites(mutation)})
        if found := mutated(ready, None, lambda terraform: noticing(terraform, every)):
            print("error: these tests fail without any defect:", *found, sep="\n  ", file=sys.stderr)
            return 1

        def look(mutation: Mutation) -> list[str]:
            return mutated(ready, mutation, lambda terraform: noticing(terraform, suites(mutation)))

        noticed = 0
        for mutation, found in zip(chosen, pool.map(look, chosen), strict=True):
            noticed += bool(found)
            print(f"{'noticed' if found else 'MISSED '}  {mutation.name}", *found, sep="\n           ", flush=True)
    print(f"{noticed} of {len(chosen)} defects are noticed")
    return 0 if noticed == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
