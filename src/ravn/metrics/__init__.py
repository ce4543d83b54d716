"""6 MEASURE: what the network loaded back from the file can do."""

from ravn.metrics.accuracy import top1_accuracy
from ravn.metrics.layers import layer_reports, weight_histogram

__all__ = ["layer_reports", "top1_accuracy", "weight_histogram"]
