from .config import MapsConfig as MapsConfig
from .run import MapsResult as MapsResult
from .run import maps as maps
from .run import observed_at_valid_times as observed_at_valid_times
