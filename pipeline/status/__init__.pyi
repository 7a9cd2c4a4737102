from .calendar_plot import plot_coverage as plot_coverage
from .summary import ArchiveStatus as ArchiveStatus
from .summary import status as status
