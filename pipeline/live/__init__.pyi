from .config import LiveConfig as LiveConfig
from .run import live as live
