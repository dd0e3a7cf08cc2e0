"""What the gauges about the log's witnesses show."""

from functools import partial

from audit.witness import Fault
from audit.witnesses import Witness, Witnesses
from gateway.telemetry import Metrics


def measure(metrics: Metrics, witnesses: Witnesses) -> None:
    """Gauges that look at the witnesses when they are read."""
    metrics.log_quorum_lag.set_function(witnesses.lag_seconds)
    for one in witnesses.all:
        metrics.log_witness_size.labels(one.name).set_function(partial(getattr, one, "tree_size"))
        metrics.log_witness_time.labels(one.name).set_function(partial(_time_of, one))
        for fault in Fault:
            metrics.log_witness_fault.labels(one.name, str(fault)).set_function(partial(_failed, one, fault))


def _time_of(witness: Witness) -> int:
    return witness.cosigned_at or 0


def _failed(witness: Witness, fault: Fault) -> bool:
    return witness.fault is fault
