"""Train, evaluate and fine-tune Swin Transformers: ``python main.py --help``."""

import sys

from swin_train.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
