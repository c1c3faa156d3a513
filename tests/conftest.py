"""What every test shares: `tests/` itself on the import path, so that `support` can be imported."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
