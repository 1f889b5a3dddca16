"""Train, evaluate and fine-tune Swin Transformers: ``python main.py --help``."""

from swin_train.cli.main import run_and_leave

if __name__ == "__main__":
    run_and_leave()
