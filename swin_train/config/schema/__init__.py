"""Every key of the configuration: its type, default, range and meaning, one file per top section."""
