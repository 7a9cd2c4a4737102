from .config import InitConfig as InitConfig
from .run import InitResult as InitResult
from .run import init as init
from .run import try_configuration as try_configuration
