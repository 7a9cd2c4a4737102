from .case_figure import ForecastCase as ForecastCase
from .case_figure import draw_case as draw_case
from .page import Section as Section
from .page import html_report as html_report
from .plots import score_figures as score_figures
from .tables import score_table as score_table
from .tables import write_csv as write_csv
