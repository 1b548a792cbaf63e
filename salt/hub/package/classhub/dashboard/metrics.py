"""The class as Prometheus's metrics: https://prometheus.io/docs/instrumenting/exposition_formats/"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily


class Collector:
    """What is written down of the class.

    Args:
        state: see classhub/activity/sampling.py
    """

    def __init__(self, state: dict) -> None:
        self.state = state

    def collect(self) -> Iterator[Metric]:
        state = self.state
        yield GaugeMetricFamily(
            "classhub_recorded_timestamp_seconds", "When the class was looked at.", state["at"]
        )
        latest = state["hourly"][-1] if state["hourly"] else {"people": 0, "servers": 0}
        yield GaugeMetricFamily(
            "classhub_people", "People who used the class in the latest hour.", latest["people"]
        )
        yield GaugeMetricFamily(
            "classhub_servers", "Most servers at once in the latest hour.", latest["servers"]
        )
        memory = GaugeMetricFamily(
            "classhub_node_memory_bytes", "Memory of a node.", labels=["node", "kind"]
        )
        for node in state["nodes"]:
            for kind in ("total", "reserved"):
                memory.add_metric([node["name"], kind], node[kind])
        yield memory
        yield from homes(state.get("disk", {}))
        yield GaugeMetricFamily(
            "classhub_forecast_seats", "Seats for the next seven days.", state["forecast"]["seats"]
        )
        students = GaugeMetricFamily(
            "classhub_assignment_students", "Students by stage.", labels=["assignment", "stage"]
        )
        for name, counts in state["progress"].items():
            for stage, count in counts.items():
                if isinstance(count, int):
                    students.add_metric([name, stage], count)
        yield students


def homes(disk: dict) -> Iterator[Metric]:
    """The disk with the homes, where it is written down."""
    if not disk:
        return
    size = GaugeMetricFamily(
        "classhub_homes_bytes",
        "The disk with the homes, and its room for students.",
        labels=["kind"],
    )
    for kind in ("size", "used", "free"):
        size.add_metric([kind], disk[kind])
    yield size
    files = GaugeMetricFamily(
        "classhub_homes_files", "How many files it can have, and how many more.", labels=["kind"]
    )
    for kind, key in (("size", "files"), ("free", "files_free")):
        files.add_metric([kind], disk[key])
    yield files
    yield GaugeMetricFamily(
        "classhub_homes_over_quota", "People who use more than their quota.", disk["over"]
    )


def exposed(state: dict) -> bytes:
    """The text that Prometheus reads."""
    registry = CollectorRegistry()
    registry.register(Collector(state))
    return generate_latest(registry)
