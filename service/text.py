"""Text that callers send: names, labels, ids."""

from typing import Annotated

from pydantic import StringConstraints

Text = Annotated[str, StringConstraints(max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""One line. Control characters are in no name, and PostgreSQL stores no NUL."""
Key = Annotated[str, StringConstraints(max_length=255, pattern=r'^[^\x00-\x1f\x7f"\\]*$')]
"""Names a label of the caller's. A path in JSON quotes with what it leaves out."""
