"""Threads for work that falls into independent blocks: each block on one core, without waiting inside of it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch


@contextmanager
def one_thread_a_block() -> Iterator[ThreadPoolExecutor]:
    """Give a pool with as many threads as torch has, in each of which torch's operations use that thread alone.

    Small operations that each wait for two threads take a third longer than two threads with operations of their own.
    """
    num_threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(num_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(num_threads)  # the last call anywhere is the setting of threads to come
