"""torchrun as launch.sh starts it: that it was asked to end, or finds no GPU, is a line and no traceback."""

import sys

from torch.distributed.run import main

if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        if type(error).__name__ == "SignalException":
            sys.exit(f"torchrun: {error}")
        if isinstance(error, ValueError) and "is not available" in str(error):
            print("launch.sh: --nproc: this machine has no GPU; give --nproc N", file=sys.stderr)
            sys.exit(2)
        raise
