from .config import SynthConfig as SynthConfig
from .run import synth as synth
