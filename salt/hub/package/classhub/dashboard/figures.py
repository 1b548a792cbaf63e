"""The parts of the page: each a table, and the plot of it."""

from dataclasses import dataclass

import plotly.graph_objects as go

GIB = 1 << 30
STAGES = {
    "has": "have it",
    "opened": "opened it",
    "submitted": "submitted",
    "graded": "graded",
    "returned": "returned",
}
COLOURS = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
)  # told apart by everybody: Okabe and Ito


@dataclass
class Part:
    """A part of the page.

    Attributes:
        name: of it, as an anchor
        title: for people
        words: what it shows, in a sentence
        columns, rows: of its table
        figure: its plot, as plotly.js takes it; nothing if it is a table alone
    """

    name: str
    title: str
    words: str
    columns: list[str]
    rows: list[list]
    figure: str = ""


def parts(state: dict, days: int) -> list[Part]:
    """The parts, of the class as it was written down (classhub/activity/sampling.py).

    Args:
        days: of which activity is shown
    """
    return [
        activity(state["hourly"][-days * 24 :], days),
        nodes(state["nodes"], state["seat"]),
        needed(state["forecast"], state["peak"]),
        progress(state["progress"]),
        culled(state["culled"]),
    ]


def activity(hourly: list[dict], days: int) -> Part:
    hours = [row["hour"] for row in hourly]
    figure = go.Figure()
    for (key, words), colour in zip(
        (("people", "people who used the class"), ("servers", "servers at once")),
        COLOURS,
        strict=False,
    ):
        line = {"color": colour, "shape": "hv"}
        values = [row[key] for row in hourly]
        figure.add_scatter(x=hours, y=values, name=words, mode="lines", line=line)
    figure.update_yaxes(title="by hour", rangemode="tozero")
    rows = [[row["hour"], row["people"], row["servers"]] for row in reversed(hourly)]
    words = f"Of the last {days} days, by hour. A server counts while it runs, a person when it is used."
    columns = ["hour", "people", "servers"]
    return Part("activity", "Who uses the class", words, columns, rows, drawn(figure))


def nodes(found: list[dict], seat: int) -> Part:
    rows = [
        [
            one["name"],
            f"{one['reserved'] / GIB:.1f}",
            f"{one['total'] / GIB:.1f}",
            one["reserved"] // seat,
            max(0, one["total"] - one["reserved"]) // seat,
        ]
        for one in found
    ]
    figure = go.Figure()
    names = [one["name"] for one in found]
    taken = [one["reserved"] / GIB for one in found]
    free = [max(0, one["total"] - one["reserved"]) / GIB for one in found]
    figure.add_bar(y=names, x=taken, name="reserved", orientation="h", marker_color=COLOURS[0])
    figure.add_bar(y=names, x=free, name="free", orientation="h", marker_color="#cccccc")
    figure.update_layout(barmode="stack", yaxis={"autorange": "reversed"})
    figure.update_xaxes(title="memory in GiB")
    columns = ["node", "reserved GiB", "memory GiB", "seats taken", "seats free"]
    words = "What servers and grading reserve of each node's memory, and how many more servers it takes."
    return Part("nodes", "Nodes", words, columns, rows, drawn(figure))


def needed(forecast: dict, peak: list[dict]) -> Part:
    rows = [["next seven days: seats", forecast["seats"], forecast["because"]]]
    rows.append(["next seven days: nodes", forecast["nodes"], "as large as the smallest one"])
    rows += [[f"most {one['of']} at once", one["most"], one["at"]] for one in peak]
    return Part("seats", "Seats", "How many servers there were at once, and how many to expect.", ["", "how many", "why or when"], rows)  # fmt: skip


def progress(found: dict[str, dict]) -> Part:
    figure = go.Figure()
    names = list(found)
    for (key, words), colour in zip(STAGES.items(), COLOURS, strict=True):
        counts = [one[key] for one in found.values()]
        figure.add_bar(x=names, y=counts, name=words, marker_color=colour)
    figure.update_yaxes(title="students")
    rows = [
        [
            name,
            one["due"].replace("T", " "),
            one["people"],
            *(one[key] for key in STAGES),
            one["late"],
        ]
        for name, one in found.items()
    ]
    columns = ["assignment", "due", "students", *STAGES.values(), "late"]
    words = "How many students are how far with each assignment that is given out."
    return Part("progress", "Progress", words, columns, rows, drawn(figure) if names else "")


def culled(lines: list[dict]) -> Part:
    rows = [[one["at"], one["server"], one["decision"], one["reason"]] for one in lines]
    words = "The newest decisions about servers that nobody used, or that were busy."
    return Part("culled", "Idle servers", words, ["at (UTC)", "server", "decision", "why"], rows)


def drawn(figure: go.Figure) -> str:
    """A figure as JSON: one that fits a phone, and is read without its colours."""
    figure.update_layout(
        template="plotly_white",
        margin={"l": 50, "r": 10, "t": 10, "b": 40},
        height=320,
        legend={"orientation": "h", "y": 1.15},
        dragmode=False,  # a finger scrolls the page
    )
    return figure.to_json()
