"""The examples of docs/widget.md, as the documentation has them."""

import re
from pathlib import Path

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "widget.md"

EXAMPLE = re.compile(r"<!-- example: (\S+) -->\n```\w+\n(.*?)\n```\n", re.DOTALL)

EXAMPLES = dict(EXAMPLE.findall(DOCUMENTATION.read_text()))
