from .config import InitConfig as InitConfig
from .run import InitResult as InitResult
from .run import init as init
