"""The configuration: typed, documented, read-only, and checked as a whole before anything runs."""

from swin_train.config.describe import describe, dump, show, to_dict
from swin_train.config.load import ConfigError, load_config
from swin_train.config.paths import output_dir
from swin_train.config.schema.root import Config

__all__ = ["Config", "ConfigError", "describe", "dump", "load_config", "output_dir", "show", "to_dict"]
