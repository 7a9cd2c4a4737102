"""What can be wrong with a user's data or configuration, and nothing else."""


class ConfigError(ValueError):
    """A configuration that cannot work; the message says which value and what to do."""


class DataError(ValueError):
    """Radar files, archives or forecasts that cannot be used; the message says which and why."""


class BusyError(DataError):
    """Another process is writing the archive; nothing was changed, try again later."""
