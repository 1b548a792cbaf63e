"""Hidden tests stay hidden in what is returned: their source, and what their failure would show of it.

An nbconvert preprocessor; nbgrader_config.py puts it into nbgrader's generate_feedback.
"""

import re

from nbgrader.preprocessors import ClearHiddenTests

NAME = re.compile(r"[A-Za-z_]\w{0,60}")


class StripHiddenTests(ClearHiddenTests):
    """Takes the hidden part of each cell away, and of such a cell's outputs all but the kind of error.

    A traceback quotes the source, and what is printed while a hidden test runs can quote it, too.
    """

    def preprocess_cell(self, cell, resources, cell_index):
        hidden = self.begin_test_delimeter in cell.source
        if hidden:
            cell.source = self._visible(cell.source)
        if hidden and cell.cell_type == "code":
            cell.outputs = [
                _told(output) for output in cell.outputs if output.output_type == "error"
            ]
        return cell, resources

    def _visible(self, source: str) -> str:
        """The lines outside hidden regions; one that does not end is hidden to the last line."""
        shown, hidden = [], False
        for line in source.split("\n"):
            if self.begin_test_delimeter in line:
                hidden = True
                shown.append("# hidden tests")
            elif hidden and self.end_test_delimeter in line:
                hidden = False
            elif not hidden:
                shown.append(line)
        return "\n".join(shown)


def _told(error):
    """An error that says its kind alone."""
    kind = error.ename if NAME.fullmatch(error.ename) else "Error"
    error.ename, error.evalue = kind, "in a hidden test"
    error.traceback = [f"{kind}: in a hidden test"]
    return error
