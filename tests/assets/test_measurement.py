import time

import numpy as np
import pytest

from assets.measurement import _CLEAR, Measurement


def test_the_time_inside_the_block_is_measured() -> None:
    with Measurement() as measured:
        time.sleep(0.05)
    assert 0.05 <= measured.seconds < 5


@pytest.mark.skipif(not _CLEAR.exists(), reason="only Linux can reset the high-water mark of memory")
def test_the_peak_is_that_of_the_block_and_not_of_what_came_before() -> None:
    with Measurement() as large:
        np.ones(64 * 2**20, np.uint8).sum()
    with Measurement() as small:
        np.ones(2**20, np.uint8).sum()
    assert large.peak_mib - small.peak_mib > 40
