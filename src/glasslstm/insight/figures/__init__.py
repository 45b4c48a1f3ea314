"""Figures of what an LSTM did, whether it is any good, and how its training went.

Each function returns a plotly figure in the template :data:`LIGHT`, for a notebook, a file
(``figure.write_html``; ``figure.write_image`` where kaleido is installed) or the report;
``figure.update_layout(template=DARK)`` turns it into its dark twin, colour scales included.
"""

from glasslstm.insight.figures.failures import (
    calibration,
    confusion_counts,
    confusion_matrix,
    residuals,
    slices,
)
from glasslstm.insight.figures.findings import diagnosis, finding
from glasslstm.insight.figures.gates import gate_map, unit, unit_order
from glasslstm.insight.figures.memory import half_lives, memory_curves, saturation
from glasslstm.insight.figures.record import record_gradient_reach, record_half_life, record_saturation
from glasslstm.insight.figures.style import DARK, LIGHT
from glasslstm.insight.figures.training import learning_curves
from glasslstm.insight.figures.why import agreement, deletion, explanation, trust
from glasslstm.insight.figures.worth import baselines

__all__ = [
    "DARK",
    "LIGHT",
    "agreement",
    "baselines",
    "calibration",
    "confusion_counts",
    "confusion_matrix",
    "deletion",
    "diagnosis",
    "explanation",
    "finding",
    "gate_map",
    "half_lives",
    "learning_curves",
    "memory_curves",
    "record_gradient_reach",
    "record_half_life",
    "record_saturation",
    "residuals",
    "saturation",
    "slices",
    "trust",
    "unit",
    "unit_order",
]
