"""Not offered: importing it raises an ImportError that says what to use."""

from picows_aio.compat import explain_absence

raise ImportError(explain_absence("*", "sync"), name=__name__)
