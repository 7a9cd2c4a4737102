from .config import PointConfig as PointConfig
from .run import point as point
