"""main.py after the file of faults that is named first: for faults in processes that the real torchrun starts."""

import runpy
import sys
from pathlib import Path

from rank_server import run_prelude

if __name__ == "__main__":
    main = Path(__file__).resolve().parents[1] / "main.py"
    prelude = sys.argv.pop(1)
    sys.argv[0] = str(main)
    sys.path.insert(0, str(main.parent))
    run_prelude(prelude)
    runpy.run_path(str(main), run_name="__main__")
