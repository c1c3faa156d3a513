"""What every test shares: `tests/` itself on the import path, and the fixtures of the real stack."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

pytest_plugins = ["support.stack", "support.stack_whole"]
