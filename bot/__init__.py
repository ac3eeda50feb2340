"""The bot: the only package that knows the Hub, the clock, the database and the disk layout."""

import os

# Set before torch and numpy are loaded, which read them once; worker processes inherit them. Threads that wait for
# the next piece of work by spinning take the time of the other workers: on a busy machine, two threads of torch are
# then far slower than one. The parent's own matrices are too small for threads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
