import numpy as np

from benchmarks.memory import peak_mib


def test_the_peak_grows_with_what_is_held_and_stays_after() -> None:
    before = peak_mib()
    held = np.ones(int(before + 50) * 2**17)  # 8 bytes each, so 50 MiB more than ever before
    assert peak_mib() >= before + 50
    del held
    assert peak_mib() >= before + 50
