"""What every test shares: the import path, the fixtures of the real stack, and how Hypothesis draws.

No example has a deadline, since machines are shared. In CI the examples are the same every time, so that a
run says something about the change and not about chance; everywhere else each run looks at new ones.
"""

import os
import signal
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))

# Whoever starts the tests in the background has Ctrl-C ignored, and with it whatever the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = [
    "support.fuzz_time",
    "support.order",
    "support.scratch",
    "support.stack",
    "support.stack_logs",
    "support.stack_whole",
    "support.tools",
]

settings.register_profile(
    "sluice",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("sluice")
