"""What learns and ranks. Knows arrays and item numbers, nothing of tables or orchestration."""

import os

# All of this counts only before torch is imported.
# Torch's threads spin while they wait for each other. With another busy process on two cores that made a SASRec fit
# four times slower (21.2 s against 5.0 s with sleeping threads).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# For every shape of a bfloat16 product oneDNN compiles code, and keeps that of the last 1024 shapes: up to a GiB, for
# batches have many widths. With 64 an epoch is as fast (5.0 s against 5.1 s) and 8 epochs take 170 MiB less.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
os.environ.setdefault("LRU_CACHE_CAPACITY", "8")
