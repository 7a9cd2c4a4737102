from .app import app_of as app_of
from .config import ServeConfig as ServeConfig
from .run import serve as serve
