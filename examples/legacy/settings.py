"""What the program is told by its environment and by the workflow's configuration."""

import json
import os
from pathlib import Path

WORKFLOW = Path("/", os.environ["WORKFLOW_DIR"])
BATCH = WORKFLOW / os.environ["BATCH_NAME"]
INPUT = os.environ["OPERATOR_IN_DIR"]
OUTPUT = os.environ["OPERATOR_OUT_DIR"]
MIN_LENGTH = int(os.getenv("MIN_LENGTH", "1"))
ONLY = os.getenv("ONLY")

CONFIGURATION = json.loads(Path(WORKFLOW, "conf", "conf.json").read_text("utf-8"))
