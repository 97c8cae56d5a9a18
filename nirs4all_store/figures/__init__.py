"""Predicted against measured: with characters in the terminal, or in a file."""

from .files import check_figure as check_figure
from .files import save as save
from .terminal import draw as draw
