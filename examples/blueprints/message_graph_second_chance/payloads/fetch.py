"""Fails the first time and works the second time, as programs that need a network do."""

import json
import os
import sys
import tempfile
from pathlib import Path

been_here = Path(tempfile.gettempdir(), f"{os.environ['MN_JOB_ID']}.tried")
if not been_here.exists():
    been_here.touch()
    sys.exit("the remote side hung up")

been_here.unlink()
print(json.dumps({"complete_run": {"fetched": True, "attempts": 2}}))
