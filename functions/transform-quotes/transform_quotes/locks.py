"""Locks for a process that runs dbt in threads only."""

import threading
from multiprocessing.context import BaseContext


def use_thread_locks() -> None:
    """Make multiprocessing's contexts hand out thread locks. Call it before dbt is imported.

    dbt takes its locks and its thread pool from multiprocessing, whose semaphores need /dev/shm. Lambda has none, and
    dbt would fail there with "OSError: [Errno 38] Function not implemented". No process is ever spawned here.
    """
    BaseContext.Lock = lambda _context: threading.Lock()
    BaseContext.RLock = lambda _context: threading.RLock()
