from .config import MapsConfig as MapsConfig
from .observed import observed_at_valid_times as observed_at_valid_times
from .run import MapsResult as MapsResult
from .run import maps as maps
