"""The tests here run with `make thorough` only: they were not yet seen to pass in a time that the
suite can bear."""

import os

collect_ignore_glob = [] if os.environ.get("LENS_STEER_THOROUGH") else ["test_*.py"]
