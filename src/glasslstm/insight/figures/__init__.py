"""Figures of what an LSTM did, whether it is any good, and how its training went.

Each function returns a plotly figure in the template :data:`LIGHT`, for a notebook, a file
(``figure.write_html``; ``figure.write_image`` where kaleido is installed) or the report;
``figure.update_layout(template=DARK)`` turns it into its dark twin, colour scales included.
"""

from glasslstm.insight.figures.failures import confusion_counts, confusion_matrix
from glasslstm.insight.figures.gates import Panel, gate_panels, gates
from glasslstm.insight.figures.style import DARK, LIGHT
from glasslstm.insight.figures.training import learning_curves

__all__ = [
    "DARK",
    "LIGHT",
    "Panel",
    "confusion_counts",
    "confusion_matrix",
    "gate_panels",
    "gates",
    "learning_curves",
]
