from .direct import DirectHead as DirectHead
from .interface import Frame as Frame
from .interface import Head as Head
