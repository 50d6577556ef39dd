"""torchrun, loaded once for many jobs (test_distributed.py): each job is a fork of this process.

Takes a job from every line of its input, [words, log]: torchrun's command line, and the file for all that the job
prints. When the job has ended, LOG.code holds its exit code.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path

from torch.distributed.run import main

for line in sys.stdin:
    words, log = json.loads(line)
    if os.fork():
        continue
    output, code = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1
    os.dup2(output, 1)
    os.dup2(output, 2)
    try:
        main(words)
        code = 0
    finally:
        if code:
            traceback.print_exc()
        sys.stdout.flush()
        Path(f"{log}.tmp").write_text(str(code))
        Path(f"{log}.tmp").replace(f"{log}.code")
        os._exit(code)
